-- What the watermark has passed is billed, whether or not another event ever comes: the last record of a session tells when,
-- and all others of it that are open and tell no time of their own become final with it.
with due as materialized (
  select r.*
  from unnest($1::int[], $2::bigint[]) as w(shard, settled_before_ms)
  cross join lateral (
    select s.session_id, s.account_id, s.bot_id, s.subject_id, s.session_started_at, s.block
    from billing.session_record s
    where s.shard = w.shard and s.session_settles_at_ms < w.settled_before_ms
    order by s.session_settles_at_ms limit $3
  ) r
), settled as materialized (
  select session_id from due
  union all
  select w.session_id
  from due d
  cross join lateral (
    select s.session_id from billing.session_record s
    where s.subject_id = d.subject_id and s.session_started_at = d.session_started_at
      and s.account_id = d.account_id and s.bot_id = d.bot_id
      and s.status = 'open' and s.session_settles_at_ms is null
    offset 0 -- so that each is found by the index, whatever the planner believes of the table
  ) w
  where d.block > 1
  order by session_id
), finalised as (
  update billing.session_record r set status = 'final', session_settles_at_ms = null
  from settled where r.session_id = settled.session_id
  returning new.session_id as session_id, new.kind as kind, old.status as old_status
)
insert into pg_temp.changed_record (session_id, kind, status, corrected)
select session_id, kind, 'final', false from finalised where old_status = 'open'
