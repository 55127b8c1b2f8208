-- What has a key and a shard: conversations, if $1 is usage, or alerts, if it is alert.
select account_id, bot_id, conversation_id, shard from billing.conversation where $1::text = 'usage'
union all
select account_id, bot_id, subject_id, shard from billing.session_record where kind = 'alert' and $1::text = 'alert'
