-- Of each of these partitions the oldest dead letters that have not been published, at most $3.
select d.topic, d.partition, d."offset", d.reason, d.field, d.detail, d.account_id, d.replay_of, d.recorded_ms
from unnest($1::text[], $2::int[]) as n(topic, partition)
left join billing.rejected_event_position p using (topic, partition)
cross join lateral (
  select l.topic, l.partition, l."offset", l.reason, l.field, l.detail, l.account_id, l.replay_of,
         (extract(epoch from l.recorded_at) * 1000)::bigint as recorded_ms
  from billing.dead_letter l
  where l.topic = n.topic and l.partition = n.partition and l."offset" >= coalesce(p.next_offset, 0)
  order by l."offset" limit $3
) d
order by d.topic, d.partition, d."offset"
