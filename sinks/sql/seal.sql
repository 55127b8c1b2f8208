-- Seal conversations: their facts go, and the next statement puts back what stays. Made twice it changes nothing.
with incoming as materialized (
  select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[])
    as n(conversation_key, sealed_through_ms, facts, begun_ms, record_ids, due_ms)
  order by conversation_key
), fresh as (
  insert into billing.seal (conversation_key, sealed_through_ms, facts, begun_ms)
  select conversation_key, sealed_through_ms, facts, begun_ms from incoming
  on conflict do nothing
  returning conversation_key
), gone as (
  delete from billing.fact_chunk k using fresh f where k.conversation_key = f.conversation_key
)
update billing.conversation c set record_ids = n.record_ids, seal_due_ms = n.due_ms
from incoming n join fresh f using (conversation_key)
where c.conversation_key = n.conversation_key
