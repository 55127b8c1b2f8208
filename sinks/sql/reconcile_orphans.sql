-- What belongs to nothing.
select 'fact_chunk' as table_name, conversation_key::text as key,
       format('facts up to revision %s of no conversation', revision) as what
from billing.fact_chunk f
where not exists (select from billing.conversation c where c.conversation_key = f.conversation_key)
union all
select 'alert_report', session_id::text, 'a further report of no alert'
from billing.alert_report a
where not exists (select from billing.session_record r where r.session_id = a.session_id and r.kind = 'alert')
