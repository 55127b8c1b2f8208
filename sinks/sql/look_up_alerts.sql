-- One row for each further report of a delivery, or one without.
select r.session_id, (extract(epoch from r.started_at) * 1000)::bigint as first_ms, r.user_id as first_user_id,
       r.channel as first_channel, r.revision, a.reported_ms, a.user_id, a.channel
from unnest($1::uuid[]) as wanted(session_id)
join billing.session_record r using (session_id)
left join billing.alert_report a using (session_id)
