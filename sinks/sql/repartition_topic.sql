-- Give a topic ($1) its new number of partitions ($5). Those that were added begin where their logs do, and as late as the
-- others, so that no watermark runs backwards. Whoever reads here is fenced by the new owner ($4), and the limit on dead
-- letters counts from here: those of keys that moved were no producer's fault.
with added as (
  insert into billing.source_partition (topic, partition, first_offset, next_offset, clock_ms, owner)
  select $1, n.partition, n.log_start, n.log_start,
         (select min(s.clock_ms) from billing.source_partition s where s.topic = $1), $4
  from unnest($2::int[], $3::bigint[]) as n(partition, log_start)
), fenced as (
  update billing.source_partition set owner = $4, limit_run = 0, limit_records = 0, limit_dead_letters = 0 where topic = $1
)
update billing.source_topic set partitions = $5 where topic = $1
