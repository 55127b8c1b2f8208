-- Requests that this checkpoint has met; one that asks for a newer algorithm meanwhile stays.
delete from billing.recompute_request r
using unnest($1::int[], $2::uuid[]) as d(shard, conversation_key)
where r.shard = d.shard and r.conversation_key = d.conversation_key and r.algorithm <= $3
