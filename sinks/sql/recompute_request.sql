-- Ask for conversations ($1) to be billed anew by an algorithm ($2), in the shards where they are. What asks for a newer one stays so.
insert into billing.recompute_request as r (shard, conversation_key, algorithm)
select c.shard, c.conversation_key, $2
from unnest($1::uuid[]) as k(conversation_key) join billing.conversation c using (conversation_key)
order by c.shard, c.conversation_key
on conflict (shard, conversation_key) do update set algorithm = greatest(r.algorithm, excluded.algorithm)
