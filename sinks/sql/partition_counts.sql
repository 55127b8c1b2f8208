select topic, partitions from billing.source_topic where topic = any($1::text[])
