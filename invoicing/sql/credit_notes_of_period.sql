select count(*) from invoicing.invoice where account_id = $1 and kind = 'credit_note' and during = tstzrange($2, $3)
