-- All that was saved of these topics, and whose it is, held still until the end of the transaction.
select topic, partition, next_offset, owner from billing.source_partition where topic = any($1::text[])
order by topic, partition for update
