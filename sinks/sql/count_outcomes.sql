insert into billing.outcome_count as o (topic, partition, outcome, reason, records)
select n.topic, n.partition, n.outcome, n.reason, n.records
from unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[]) as n(topic, partition, outcome, reason, records)
order by n.topic, n.partition, n.outcome, n.reason
on conflict (topic, partition, outcome, reason) do update set records = o.records + excluded.records
