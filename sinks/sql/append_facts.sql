insert into billing.fact_chunk (conversation_key, revision, facts, strings)
select n.conversation_key, n.revision, n.facts, n.strings
from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[]) as n(conversation_key, revision, facts, strings)
