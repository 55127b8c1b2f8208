insert into billing.alert_report (session_id, reported_ms, user_id, channel)
select n.session_id, n.reported_ms, n.user_id, n.channel
from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) as n(session_id, reported_ms, user_id, channel)
on conflict do nothing
