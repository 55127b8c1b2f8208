update invoicing.subscription set
  state = $2, during = tstzrange(lower(during), $3), unit = $4, anchor_at = $5, anchor_wall = $6, period_number = $7,
  period_starts_at = $8, period_ends_at = $9, pending_plan_id = $10, pending_plan_version = $11
where subscription_id = $1
