insert into invoicing.slice (subscription_id, bot_key, during, plan_id, plan_version, is_trial)
values ($1, $2, tstzrange($3, null), $4, $5, $6)
