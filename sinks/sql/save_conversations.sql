insert into billing.conversation as c
  (conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, settled, record_ids)
select encode(n.conversation_key, 'hex')::uuid, n.account_id, n.bot_id, n.conversation_id, n.shard, n.revision,
       n.settles_at_ms, false, n.record_ids
from pg_temp.incoming_conversation n
order by n.conversation_key
on conflict (conversation_key) do update
set revision = excluded.revision, settles_at_ms = excluded.settles_at_ms, settled = false, record_ids = excluded.record_ids
