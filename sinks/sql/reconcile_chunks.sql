select conversation_key, revision, facts, strings, coalesce(checksum = billing.checksum(f), true) as is_unchanged
from billing.fact_chunk f
where conversation_key = any($1::uuid[])
order by conversation_key, revision
