select amount_minor, reason from invoicing.manual_credit where account_id = $1 and reference = $2
