-- Read a topic ($1) from the start of its logs. The clocks of what was set aside as $4 go on: they never run backwards.
insert into billing.source_partition (topic, partition, first_offset, next_offset, clock_ms, owner)
select $1, n.partition, n.log_start, n.log_start, coalesce(a.clock_ms, 0), $5
from unnest($2::int[], $3::bigint[]) as n(partition, log_start)
left join billing.source_partition a on a.topic = $4 and a.partition = n.partition
