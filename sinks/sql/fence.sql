-- Move all partitions of a claim, if every one of them stands where this checkpoint starts and belongs to it, and if the
-- worker knows all rule sets there are (they are only ever added, so their number tells); else none.
with locked as materialized (
  select s.topic, s.partition, n.next_offset, n.clock_ms, n.gap_count, n.limit_run, n.limit_records, n.limit_dead_letters
  from billing.source_partition s
  join unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
              $9::bigint[])
       as n(topic, partition, expected_offset, next_offset, clock_ms, gap_count, limit_run, limit_records, limit_dead_letters)
       using (topic, partition)
  where s.next_offset = n.expected_offset and s.owner = $10
  order by s.topic, s.partition
  for update of s
)
update billing.source_partition s
set next_offset = l.next_offset, clock_ms = greatest(s.clock_ms, l.clock_ms), gap_count = s.gap_count + l.gap_count,
    limit_run = l.limit_run, limit_records = l.limit_records, limit_dead_letters = l.limit_dead_letters, saved_at = now()
from locked l
where s.topic = l.topic and s.partition = l.partition
  and (select count(*) from locked) = cardinality($1::text[])
  and ($11::bigint is null or (select count(*) from billing.rule_set) = $11)
returning s.partition
