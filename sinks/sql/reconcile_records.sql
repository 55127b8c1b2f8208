select session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at, ended_at,
       bot_ms, agent_ms, user_messages, bot_messages, shard, session_settles_at_ms, status, revision, corrected_at, algorithm
from billing.session_record where session_id = any($1::uuid[])
