insert into billing.source_topic as t (topic, partitions, topic_id)
select f.topic, f.partitions, f.topic_id from unnest($1::text[], $2::int[], $3::uuid[]) as f(topic, partitions, topic_id)
order by f.topic
on conflict (topic) do update set topic_id = excluded.topic_id where t.topic_id is null
