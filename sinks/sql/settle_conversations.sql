-- A settled conversation's chunks become one.
with due as materialized (
  select c.conversation_key
  from unnest($1::int[], $2::bigint[]) as w(shard, settled_before_ms)
  cross join lateral (
    select s.conversation_key from billing.conversation s
    where s.shard = w.shard and not s.settled and s.settles_at_ms < w.settled_before_ms
    order by s.settles_at_ms limit $3
  ) c
  order by c.conversation_key
), settled as (
  update billing.conversation c set settled = true from due where c.conversation_key = due.conversation_key
  returning c.conversation_key
), scattered as materialized (
  select k.conversation_key, max(k.revision) as revision
  from billing.fact_chunk k join settled using (conversation_key)
  group by k.conversation_key having count(*) > 1
), gone as (
  delete from billing.fact_chunk k using scattered s where k.conversation_key = s.conversation_key
  returning k.conversation_key, k.revision, k.facts, k.strings
)
insert into billing.fact_chunk (conversation_key, revision, facts, strings, checksum)
select k.conversation_key, k.revision, k.facts, k.strings,
       hash_record_extended(row(k.conversation_key, k.revision, k.facts, k.strings), 0)
from (
  select conversation_key, max(revision) as revision, string_agg(facts, ''::bytea order by revision) as facts,
         string_agg(strings, '' order by revision) as strings
  from gone group by conversation_key
) k
