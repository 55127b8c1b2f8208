select count(*) from billing.rule_set
