-- The last word of the change feed on a record is the record. What became void before it ever was final and came back as
-- open is left out: the feed tells nothing open. $1, $2, $3: account and start of records.
with last as (
  select distinct on (session_id) * from billing.session_record_change
  where $1::text is null or account_id = $1
  order by session_id, position desc
), compared as (
  select session_id, coalesce(r.started_at, c.started_at) as started_at, r.session_id is not null as is_there, c.position,
         coalesce(r.account_id, c.account_id) as account_id, coalesce(r.bot_id, c.bot_id) as bot_id,
         coalesce(r.subject_id, c.subject_id) as subject_id, concat_ws(', ',
         case when r.kind is distinct from c.kind then 'kind' end,
         case when r.account_id is distinct from c.account_id then 'account_id' end,
         case when r.bot_id is distinct from c.bot_id then 'bot_id' end,
         case when r.user_id is distinct from c.user_id then 'user_id' end,
         case when r.channel is distinct from c.channel then 'channel' end,
         case when r.subject_id is distinct from c.subject_id then 'subject_id' end,
         case when r.session_started_at is distinct from c.session_started_at then 'session_started_at' end,
         case when r.block is distinct from c.block then 'block' end,
         case when r.started_at is distinct from c.started_at then 'started_at' end,
         case when r.ended_at is distinct from c.ended_at then 'ended_at' end,
         case when r.bot_ms is distinct from c.bot_ms then 'bot_ms' end,
         case when r.agent_ms is distinct from c.agent_ms then 'agent_ms' end,
         case when r.user_messages is distinct from c.user_messages then 'user_messages' end,
         case when r.bot_messages is distinct from c.bot_messages then 'bot_messages' end,
         case when r.status is distinct from c.status then 'status' end,
         case when r.revision is distinct from c.revision then 'revision' end,
         case when r.corrected_at is distinct from c.corrected_at then 'corrected_at' end,
         case when r.algorithm is distinct from c.algorithm then 'algorithm' end) as differing
  from (select * from billing.session_record where $1::text is null or account_id = $1) r
  full join last c using (session_id)
  where (r.status <> 'open' or c.session_id is not null)
    and not coalesce(r.status = 'open' and c.status = 'void' and c.corrected_at is null, false)
)
select 'session_record_change' as table_name, format('%s|%s|%s %s', account_id, bot_id, subject_id, session_id) as key,
       case when position is null then 'consumers were never told of it, and session_record has it as final or void'
       when not is_there then format('told at position %s, and session_record does not have it', position)
       else format('its last word, position %s, and session_record differ in %s', position, differing) end as what
from compared
where (differing <> '' or position is null or not is_there)
  and ($2::timestamptz is null or started_at >= $2)
  and ($3::timestamptz is null or started_at < $3)
