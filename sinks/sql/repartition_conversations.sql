-- Those that go to another shard, if this kind ($1) is theirs.
update billing.conversation c set shard = m.shard
from pg_temp.moved_subject m
where m.kind = $1 and m.kind = 'usage'
  and (c.account_id, c.bot_id, c.conversation_id) = (m.account_id, m.bot_id, m.subject_id)
