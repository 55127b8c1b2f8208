-- The usage records that are billed and have facts, and of what. $1, $2, $3: account and start.
with sealed as (
  select distinct on (conversation_key) c.account_id, c.bot_id, c.conversation_id as subject_id,
         timestamptz 'epoch' + s.sealed_through_ms * interval '1 millisecond' as sealed_through
  from billing.seal s join billing.conversation c using (conversation_key)
  where $1::text is null or c.account_id = $1
  order by conversation_key, s.sealed_through_ms desc
)
select r.session_id, r.account_id, r.bot_id, r.subject_id
from billing.session_record r
left join sealed s on (s.account_id, s.bot_id, s.subject_id) = (r.account_id, r.bot_id, r.subject_id)
  and r.session_started_at <= s.sealed_through
where r.kind = 'usage' and r.status <> 'void' and s.account_id is null and ($1::text is null or r.account_id = $1)
  and ($2::timestamptz is null or r.started_at >= $2) and ($3::timestamptz is null or r.started_at < $3)
