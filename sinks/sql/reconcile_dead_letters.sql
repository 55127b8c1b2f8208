-- Dead letters are as many as were counted, by reason.
select 'dead_letter' as table_name, format('%s partition %s reason %s', topic, partition, reason) as key,
       format('%s rows, and outcome_count says %s', coalesce(d.rows, 0), coalesce(o.records, 0)) as what
from (select topic, partition, reason, count(*) as rows from billing.dead_letter group by 1, 2, 3) d
full join (select topic, partition, reason, records from billing.outcome_count where outcome = 'dead_letter') o
  using (topic, partition, reason)
where coalesce(d.rows, 0) <> coalesce(o.records, 0)
