-- Give all that was read of a topic that is no more another name, $2: it stays counted. Whoever reads there is fenced.
with partitions as (
  update billing.source_partition set topic = $2, owner = $3 where topic = $1
), outcomes as (
  update billing.outcome_count set topic = $2 where topic = $1
)
update billing.dead_letter set topic = $2 where topic = $1
