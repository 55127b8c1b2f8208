-- Sessions that started in each of these times of a bot, by kind: whole quarter hours from their counts, what is left at
-- both ends from the records.
with wanted as (
  select bot_id, from_at, to_at, place,
         date_bin('15 minutes', from_at + interval '15 minutes' - interval '1 microsecond', 'epoch') as first_quarter,
         date_bin('15 minutes', to_at, 'epoch') as end_quarter
  from unnest($2::text[], $3::timestamptz[], $4::timestamptz[]) with ordinality as w (bot_id, from_at, to_at, place)
), edge as (
  select place, bot_id, from_at, least(first_quarter, to_at) as to_at from wanted
  union all
  select place, bot_id, greatest(end_quarter, least(first_quarter, to_at)), to_at from wanted
), counted as (
  select w.place, q.kind, q.sessions
  from wanted w join invoicing.usage_quarter q
    on q.account_id = $1 and q.bot_id = w.bot_id and q.quarter_at >= w.first_quarter and q.quarter_at < w.end_quarter
  union all
  select e.place, r.kind, 1
  from edge e join invoicing.billed_record r
    on r.account_id = $1 and r.bot_id = e.bot_id and r.started_at >= e.from_at and r.started_at < e.to_at and not r.is_void
)
select place, kind, sum(sessions)::bigint as sessions from counted group by 1, 2 having sum(sessions) > 0
