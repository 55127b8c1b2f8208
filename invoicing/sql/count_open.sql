-- How many sessions that started in each of these times of a bot are not final yet, by kind.
select w.place, r.kind, count(*) as sessions
from unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) with ordinality as w (bot_id, from_at, to_at, place)
join billing.session_records r
  on r.account_id = $1 and r.bot_id = w.bot_id and r.started_at >= w.from_at and r.started_at < w.to_at and r.status = 'open'
group by 1, 2
