select topic, partition, next_offset, clock_ms from billing.source_partition where topic = any($1::text[])
