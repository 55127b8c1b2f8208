insert into invoicing.account_zone (account_id, effective_at, time_zone) values ($1, $2, $3)
