-- The seals of a conversation, the first one first.
select sealed_through_ms, facts, begun_ms, floor(extract(epoch from sealed_at) * 1000)::bigint as sealed_ms
from billing.seal where conversation_key = $1 order by sealed_through_ms
