-- Become the owner of these partitions; those never seen before start at the earliest offset of their log.
insert into billing.source_partition as s (topic, partition, first_offset, next_offset, clock_ms, owner)
select c.topic, c.partition, c.earliest_offset, c.earliest_offset, 0, $4
from unnest($1::text[], $2::int[], $3::bigint[]) as c(topic, partition, earliest_offset)
order by c.topic, c.partition
on conflict (topic, partition) do update set owner = excluded.owner, claimed_at = now()
returning s.topic, s.partition, s.next_offset, s.clock_ms, s.limit_run, s.limit_records, s.limit_dead_letters,
  coalesce((
    select max(a."offset") from billing.dead_letter_act a
    where a.act = 'accept' and a.topic = s.topic and a.partition = s.partition), 0) as accepted_offset
