update billing.source_topic set topic_id = $2 where topic = $1
