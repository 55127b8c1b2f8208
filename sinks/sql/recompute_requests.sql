-- Conversations to bill anew; one that asks for a newer algorithm waits for a worker that has it.
select c.shard, c.conversation_key, c.account_id, c.bot_id, c.conversation_id
from unnest($1::int[]) as w(shard)
cross join lateral (
  select r.conversation_key from billing.recompute_request r
  where r.shard = w.shard and r.algorithm <= $3
  order by r.conversation_key limit $2
) r
join billing.conversation c using (conversation_key)
