select topic, partitions, topic_id from billing.source_topic order by topic
