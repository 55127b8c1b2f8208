-- What is to be billed anew goes where its conversation is.
update billing.recompute_request q set shard = c.shard
from billing.conversation c
where c.conversation_key = q.conversation_key and c.shard <> q.shard
