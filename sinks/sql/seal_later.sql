-- Conversations of which nothing could be sealed yet.
update billing.conversation c set seal_due_ms = n.due_ms
from unnest($1::uuid[], $2::bigint[]) as n(conversation_key, due_ms)
where c.conversation_key = n.conversation_key
