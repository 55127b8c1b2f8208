-- Settled conversations of which something may be sealed, those first that have been so longest.
select c.shard, c.conversation_key, c.account_id, c.bot_id, c.conversation_id
from unnest($1::int[], $2::bigint[]) as h(shard, before_ms)
cross join lateral (
  select c.shard, c.conversation_key, c.account_id, c.bot_id, c.conversation_id
  from billing.conversation c
  where c.shard = h.shard and c.settled and coalesce(c.seal_due_ms, c.settles_at_ms) < h.before_ms
  order by coalesce(c.seal_due_ms, c.settles_at_ms) limit $3
) c
