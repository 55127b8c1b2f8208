-- All reports of these deliveries: the first, which is the record, and the others.
select session_id, (extract(epoch from started_at) * 1000)::bigint as reported_ms, user_id, channel
from billing.session_record where session_id = any($1::uuid[])
union all
select session_id, reported_ms, user_id, channel from billing.alert_report where session_id = any($1::uuid[])
