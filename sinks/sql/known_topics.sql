select topic, partitions, topic_id from billing.source_topic where topic = any($1::text[])
