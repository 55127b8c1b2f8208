-- How many partitions stand where this checkpoint ends, under its owner: all of them, if its commit went through
-- and only the answer was lost.
select count(*)
from billing.source_partition s
join unnest($1::text[], $2::int[], $3::bigint[]) as n(topic, partition, next_offset) using (topic, partition)
where s.next_offset = n.next_offset and s.owner = $4
