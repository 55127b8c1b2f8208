-- Alerts, each with how many further reports it has and the first of those. $1, $2, $3: account and start.
select r.session_id, r.account_id, r.bot_id, r.user_id, r.channel, r.subject_id, r.session_started_at, r.block, r.started_at,
       r.ended_at, r.bot_ms, r.agent_ms, r.user_messages, r.bot_messages, r.shard, r.session_settles_at_ms, r.status, r.revision,
       f.further, f.least_ms, f.least_user_id, f.least_channel
from billing.session_record r
cross join lateral (
  select count(*) as further, (array_agg(reported_ms order by reported_ms, user_id, channel))[1] as least_ms,
         (array_agg(user_id order by reported_ms, user_id, channel))[1] as least_user_id,
         (array_agg(channel order by reported_ms, user_id, channel))[1] as least_channel
  from billing.alert_report a where a.session_id = r.session_id
) f
where r.kind = 'alert' and ($1::text is null or r.account_id = $1)
  and ($2::timestamptz is null or r.started_at >= $2) and ($3::timestamptz is null or r.started_at < $3)
