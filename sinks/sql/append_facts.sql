insert into billing.fact_chunk (conversation_key, revision, facts, strings, checksum)
select k.conversation_key, k.revision, k.facts, k.strings,
       hash_record_extended(row(k.conversation_key, k.revision, k.facts, k.strings), 0)
from (
  select encode(n.conversation_key, 'hex')::uuid as conversation_key, n.revision, n.facts, n.strings
  from pg_temp.incoming_fact_chunk n
) k
