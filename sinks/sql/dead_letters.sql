-- These dead letters, in this order.
select d.id, d.topic, d.partition, d."offset", d.reason, d.field, d.detail, d.account_id, d.key, d.value, d.recorded_at,
       d.created_at, d.replay_of, d.state, d.again
from unnest($1::text[], $2::int[], $3::bigint[]) with ordinality as n(topic, partition, "offset", place)
join billing.dead_letters d on d.topic = n.topic and d.partition = n.partition and d."offset" = n."offset"
order by n.place
