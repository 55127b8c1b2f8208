insert into invoicing.subscription
  (bot_key, account_id, state, during, unit, anchor_at, anchor_wall, period_number, period_starts_at, period_ends_at)
values ($1, $2, $3, tstzrange($4, null), $5, $6, $7, $8, $9, $10)
returning subscription_id
