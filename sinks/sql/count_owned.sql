-- How many of these partitions are this owner's: whoever claims one waits until this transaction has ended.
select count(*) from (
  select from billing.source_partition s
  join unnest($1::text[], $2::int[]) as n(topic, partition) using (topic, partition)
  where s.owner = $3
  order by s.topic, s.partition for share of s
) owned
