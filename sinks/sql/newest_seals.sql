-- Of these conversations those that are sealed, with their newest seal.
select distinct on (conversation_key) conversation_key, sealed_through_ms, facts, begun_ms
from billing.seal where conversation_key = any($1::uuid[])
order by conversation_key, sealed_through_ms desc
