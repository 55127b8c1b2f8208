-- Rows that are written once and were changed; rules that were added for the past. Chunks of facts are looked at where
-- they are read.
select 'alert_report' as table_name, session_id::text as key, 'was changed after it was written' as what
from billing.alert_report r where checksum <> billing.checksum(r)
union all
select 'dead_letter', format('%s partition %s offset %s', topic, partition, "offset"), 'was changed after it was written'
from billing.dead_letter d where checksum <> billing.checksum(d)
union all
select 'dead_letter_act', format('act_number %s', act_number), 'was changed after it was written'
from billing.dead_letter_act a where checksum is distinct from billing.checksum(a)
union all
select 'seal', format('%s through %s', conversation_key, sealed_through_ms), 'was changed after it was written'
from billing.seal s where checksum is distinct from billing.checksum(s)
union all
select 'rule_set', format('%s effective_ms %s', coalesce(account_id || '|' || bot_id, 'all bots'), effective_ms),
       'was changed after it was written'
from billing.rule_set s where checksum is distinct from billing.checksum(s)
union all
select 'rule_set', format('%s effective_ms %s', coalesce(account_id || '|' || bot_id, 'all bots'), effective_ms),
       'was in force before it was added'
from billing.rule_set where effective_ms < extract(epoch from added_at) * 1000
