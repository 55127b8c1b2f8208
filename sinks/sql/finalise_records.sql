-- What the watermark has passed is billed, whether or not another event ever comes.
with due as materialized (
  select r.session_id
  from unnest($1::int[], $2::bigint[]) as w(shard, settled_before_ms)
  cross join lateral (
    select s.session_id from billing.session_record s
    where s.shard = w.shard and s.status = 'open' and s.settles_at_ms < w.settled_before_ms
    order by s.settles_at_ms limit $3
  ) r
  order by r.session_id
), finalised as (
  update billing.session_record r set status = 'final' from due where r.session_id = due.session_id
  returning r.session_id, r.kind
)
insert into pg_temp.changed_record (session_id, kind, status, corrected)
select session_id, kind, 'final', false from finalised
