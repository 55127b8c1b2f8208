insert into billing.fact_chunk (conversation_key, revision, facts, strings, checksum)
select k.conversation_key, k.revision, k.facts, k.strings,
       hash_record_extended(row(k.conversation_key, k.revision, k.facts, k.strings), 0)
from unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::text[]) as k(conversation_key, revision, facts, strings)
on conflict do nothing
