-- Conversations of an account ($1) that may have records from a time on ($2, ms).
select conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, settled, record_ids, seal_due_ms
from billing.conversation
where ($1::text is null or account_id = $1) and ($2::bigint is null or settles_at_ms >= $2)
