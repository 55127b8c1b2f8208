insert into billing.dead_letter_act
  (act, topic, partition, "offset", sent_topic, sent_partition, sent_offset, actor, why, change)
select $1, n.topic, n.partition, n."offset", n.sent_topic, n.sent_partition, n.sent_offset, $8, $9, $10::jsonb
from unnest($2::text[], $3::int[], $4::bigint[], $5::text[], $6::int[], $7::bigint[])
     as n(topic, partition, "offset", sent_topic, sent_partition, sent_offset)
