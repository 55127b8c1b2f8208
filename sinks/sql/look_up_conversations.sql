select c.conversation_key, c.revision, c.settles_at_ms, c.record_ids, f.facts, f.strings,
       s.sealed_through_ms, s.facts as sealed_facts, s.begun_ms
from unnest($1::uuid[]) as wanted(conversation_key)
join billing.conversation c using (conversation_key)
cross join lateral (
  select string_agg(k.facts, ''::bytea order by k.revision) as facts, string_agg(k.strings, '' order by k.revision) as strings
  from billing.fact_chunk k where k.conversation_key = c.conversation_key
) f
left join lateral (
  select n.sealed_through_ms, n.facts, n.begun_ms from billing.seal n
  where n.conversation_key = c.conversation_key
  order by n.sealed_through_ms desc limit 1
) s on true
