insert into billing.dead_letter (topic, partition, "offset", reason, field, detail, key, value, recorded_at)
select n.topic, n.partition, n."offset", n.reason, n.field, n.detail, n.key, n.value,
       timestamptz 'epoch' + n.recorded_ms * interval '1 millisecond'
from unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::bigint[])
     as n(topic, partition, "offset", reason, field, detail, key, value, recorded_ms)
