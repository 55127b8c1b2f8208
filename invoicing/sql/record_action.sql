insert into invoicing.action (as_of, actor, event, account_id, bot_key, subject, details)
values ($1, $2, $3, $4, $5, $6, $7)
