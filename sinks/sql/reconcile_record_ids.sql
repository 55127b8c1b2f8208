select conversation_key, record_ids from billing.conversation where conversation_key = any($1::uuid[])
