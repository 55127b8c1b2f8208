insert into billing.source_topic (topic, partitions)
select f.topic, f.partitions from unnest($1::text[], $2::int[]) as f(topic, partitions) order by f.topic
on conflict (topic) do nothing
