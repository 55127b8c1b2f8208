-- What consumers were told of records and then told otherwise. $1, $2, $3: account and start of records.
select position, session_id, kind, account_id, bot_id, subject_id, session_started_at, block, user_id, channel, started_at,
       ended_at, bot_ms, agent_ms, user_messages, bot_messages, status, revision, algorithm
from (
  select *, lead(position) over (partition by session_id order by position) as next_position
  from billing.session_record_change
  where $1::text is null or account_id = $1
) c
where next_position is not null
  and ($2::timestamptz is null or started_at >= $2)
  and ($3::timestamptz is null or started_at < $3)
