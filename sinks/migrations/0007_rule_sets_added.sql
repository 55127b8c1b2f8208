-- When a rule set was added: it may be in force only later, so that what was billed stays so. Null: before this was kept.
alter table billing.rule_set add column added_at timestamptz;
alter table billing.rule_set alter column added_at set default now();
