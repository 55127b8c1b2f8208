select account_id from invoicing.account where account_id = $1 for no key update skip locked
