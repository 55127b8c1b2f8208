insert into billing.dead_letter
  (topic, partition, "offset", reason, field, detail, key, value, recorded_at, account_id, replay_of)
select n.topic, n.partition, n."offset", n.reason, n.field, n.detail, n.key, n.value,
       timestamptz 'epoch' + n.recorded_ms * interval '1 millisecond', n.account_id, n.replay_of
from unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::bigint[],
            $10::text[], $11::text[])
     as n(topic, partition, "offset", reason, field, detail, key, value, recorded_ms, account_id, replay_of)
