insert into billing.fact_chunk (conversation_key, revision, facts, strings)
select encode(n.conversation_key, 'hex')::uuid, n.revision, n.facts, n.strings from pg_temp.incoming_fact_chunk n
