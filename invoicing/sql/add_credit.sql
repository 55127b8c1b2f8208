insert into invoicing.manual_credit (account_id, amount_minor, reason, reference, actor, given_at)
values ($1, $2, $3, $4, $5, $6)
