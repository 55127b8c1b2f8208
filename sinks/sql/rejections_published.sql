insert into billing.rejected_event_position as p (topic, partition, next_offset)
select n.topic, n.partition, n.next_offset from unnest($1::text[], $2::int[], $3::bigint[]) as n(topic, partition, next_offset)
order by n.topic, n.partition
on conflict (topic, partition) do update set next_offset = greatest(p.next_offset, excluded.next_offset)
