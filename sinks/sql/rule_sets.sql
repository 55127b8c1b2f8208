select account_id, bot_id, effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms from billing.rule_set
