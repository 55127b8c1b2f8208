-- What belongs to nothing.
select 'fact_chunk' as table_name, conversation_key::text as key,
       format('facts up to revision %s of no conversation', revision) as what
from billing.fact_chunk f
where not exists (select from billing.conversation c where c.conversation_key = f.conversation_key)
union all
select 'seal', format('%s through %s', conversation_key, sealed_through_ms), 'a seal of no conversation'
from billing.seal s
where not exists (select from billing.conversation c where c.conversation_key = s.conversation_key)
union all
select 'recompute_request', format('shard %s conversation %s', shard, conversation_key),
       'asks for what is no conversation of this shard'
from billing.recompute_request q
where not exists (
  select from billing.conversation c where (c.shard, c.conversation_key) = (q.shard, q.conversation_key))
union all
select 'recompute_request', format('shard %s conversation %s', shard, conversation_key),
       format('asks for algorithm %s, and recomputation says that nobody did', algorithm)
from billing.recompute_request q
where not exists (select from billing.recomputation m where m.algorithm = q.algorithm)
union all
select 'alert_report', session_id::text, 'a further report of no alert'
from billing.alert_report a
where not exists (select from billing.session_record r where r.session_id = a.session_id and r.kind = 'alert')
union all
select 'dead_letter_act', format('act_number %s', act_number), 'is about no dead letter'
from billing.dead_letter_act a
where act <> 'accept' and not exists (
  select from billing.dead_letter d where (d.topic, d.partition, d."offset") = (a.topic, a.partition, a."offset"))
union all
select 'rejected_event_position', format('%s partition %s', e.topic, e.partition),
       format('stands at %s, past what source_partition says was read', e.next_offset)
from billing.rejected_event_position e left join billing.source_partition s using (topic, partition)
where s.next_offset is null or e.next_offset > s.next_offset
