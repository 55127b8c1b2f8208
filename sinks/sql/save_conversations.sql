insert into billing.conversation as c
  (conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, settled, record_ids)
select n.conversation_key, n.account_id, n.bot_id, n.conversation_id, n.shard, n.revision, n.settles_at_ms, false, n.record_ids
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[], $7::bigint[], $8::bytea[])
     as n(conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, record_ids)
order by n.conversation_key
on conflict (conversation_key) do update
set revision = excluded.revision, settles_at_ms = excluded.settles_at_ms, settled = false, record_ids = excluded.record_ids
