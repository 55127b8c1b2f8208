-- The last statement of a checkpoint: number its changes. The counter's row stays locked until commit, so positions
-- have no gaps and stand in the order of commits.
with published as materialized (
  select session_id, row_number() over () as place from pg_temp.changed_record where status <> 'open'
), counter as (
  update billing.change_counter set last_position = last_position + (select count(*) from published)
  returning last_position - (select count(*) from published) as base
)
insert into billing.session_record_change
  (position, session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at, ended_at,
   bot_ms, agent_ms, user_messages, bot_messages, status, revision, corrected_at, algorithm)
select c.base + n.place, r.session_id, r.kind, r.account_id, r.bot_id, r.user_id, r.channel, r.subject_id, r.session_started_at,
       r.block, r.started_at, r.ended_at, r.bot_ms, r.agent_ms, r.user_messages, r.bot_messages, r.status, r.revision,
       r.corrected_at, r.algorithm
from published n
join billing.session_record r using (session_id)
cross join counter c
