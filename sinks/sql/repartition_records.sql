-- The records, of one kind ($1), of all that goes to another shard.
update billing.session_record r set shard = m.shard
from pg_temp.moved_subject m
where m.kind = $1
  and (r.kind, r.account_id, r.bot_id, r.subject_id) = (m.kind, m.account_id, m.bot_id, m.subject_id)
