-- Write records whose content, settling time or status changed. What stood in the ledger decides what a change means: a record that
-- ever was final stays final and the change is a correction; one that was not takes the new status. Times are computed
-- from whole milliseconds: a float of seconds is no longer exact to the microsecond from the year 2242 on.
with incoming as (
  select encode(session_id, 'hex')::uuid as session_id, kind, account_id, bot_id, user_id, channel, subject_id,
         timestamptz 'epoch' + session_started_ms * interval '1 millisecond' as session_started_at, block,
         timestamptz 'epoch' + started_ms * interval '1 millisecond' as started_at,
         timestamptz 'epoch' + ended_ms * interval '1 millisecond' as ended_at,
         bot_ms, agent_ms, user_messages, bot_messages, status, revision, late, settles_at_ms, shard
  from pg_temp.incoming_record
  order by session_id
), saved as (
insert into billing.session_record as r
  (session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at, ended_at,
   bot_ms, agent_ms, user_messages, bot_messages, status, revision, corrected_at, algorithm, shard, session_settles_at_ms)
select session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at, ended_at,
       bot_ms, agent_ms, user_messages, bot_messages, status, revision,
       case when late and status = 'final' then now() end, $1::int, shard, settles_at_ms
from incoming
on conflict (session_id) do update
set user_id = excluded.user_id, channel = excluded.channel, started_at = excluded.started_at, ended_at = excluded.ended_at,
    bot_ms = excluded.bot_ms, agent_ms = excluded.agent_ms,
    user_messages = excluded.user_messages, bot_messages = excluded.bot_messages,
    session_settles_at_ms = excluded.session_settles_at_ms, algorithm = excluded.algorithm,
    revision = case when billing.same_bill(r, excluded) then r.revision else excluded.revision end,
    status = case when billing.was_final(r) then 'final' else excluded.status end,
    corrected_at = case
      when billing.was_final(r) and not billing.same_bill(r, excluded) then now()
      when r.status = 'void' then excluded.corrected_at -- what comes back is judged as if it were new
      else r.corrected_at
    end
where not billing.same_bill(r, excluded)
   or r.session_settles_at_ms is distinct from excluded.session_settles_at_ms
   or (r.status = 'open' and excluded.status = 'final')
returning new.session_id as session_id, new.kind as kind, new.status as status,
          new.corrected_at is not distinct from now() as corrected,
          old.revision is distinct from new.revision or old.status is distinct from new.status
            or new.corrected_at is not distinct from now() as changed -- a newer algorithm corrects at the same revision
)
insert into pg_temp.changed_record (session_id, kind, status, corrected)
select session_id, kind, status, corrected from saved where changed
