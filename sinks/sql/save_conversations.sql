-- One that is new may be looked at for sealing a day after it began, one that was sealed as a whole when it settles again.
insert into billing.conversation as c
  (conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, settled, record_ids, seal_due_ms)
select encode(n.conversation_key, 'hex')::uuid, n.account_id, n.bot_id, n.conversation_id, n.shard, n.revision,
       n.settles_at_ms, false, n.record_ids, n.begun_ms + 86400000
from pg_temp.incoming_conversation n
order by n.conversation_key
on conflict (conversation_key) do update
set revision = excluded.revision, settles_at_ms = excluded.settles_at_ms, settled = false, record_ids = excluded.record_ids,
    seal_due_ms = case when c.seal_due_ms < 9223372036854775807 then c.seal_due_ms else excluded.settles_at_ms end
