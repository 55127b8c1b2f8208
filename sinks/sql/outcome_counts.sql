select topic, partition, outcome, reason, records from billing.outcome_count order by topic, partition, outcome, reason
