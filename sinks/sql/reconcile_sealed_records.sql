-- Records whose facts are sealed: they are final or void for good. What else they are, the change feed knows.
-- $1, $2, $3: account and start of records.
with sealed as (
  select distinct on (conversation_key) c.account_id, c.bot_id, c.conversation_id as subject_id, c.shard,
         timestamptz 'epoch' + s.sealed_through_ms * interval '1 millisecond' as sealed_through
  from billing.seal s join billing.conversation c using (conversation_key)
  where $1::text is null or c.account_id = $1
  order by conversation_key, s.sealed_through_ms desc
)
select 'session_record' as table_name, format('%s|%s|%s %s', account_id, bot_id, subject_id, r.session_id) as key,
       concat_ws(', ',
         case when r.status = 'open' then 'is open, and its facts are sealed' end,
         case when r.session_settles_at_ms is not null
           then format('session_settles_at_ms is %s, and its facts are sealed', r.session_settles_at_ms) end,
         case when r.shard <> s.shard then format('shard is %s and must be %s', r.shard, s.shard) end) as what
from billing.session_record r join sealed s using (account_id, bot_id, subject_id)
where r.kind = 'usage' and r.session_started_at <= s.sealed_through
  and (r.status = 'open' or r.session_settles_at_ms is not null or r.shard <> s.shard)
  and ($2::timestamptz is null or r.started_at >= $2) and ($3::timestamptz is null or r.started_at < $3)
