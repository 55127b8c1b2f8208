-- Every source partition with the counts of what was read of it; and counts of a partition that nobody has read.
select topic, partition, s.first_offset, s.next_offset, s.clock_ms, s.gap_count, o.outcomes
from billing.source_partition s
full join (
  select topic, partition, jsonb_object_agg(outcome, records) as outcomes
  from (
    select topic, partition, outcome, sum(records)::bigint as records
    from billing.outcome_count group by topic, partition, outcome
  ) c
  group by topic, partition
) o using (topic, partition)
order by topic, partition
