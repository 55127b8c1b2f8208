update invoicing.manual_credit set invoice_id = $2 where credit_id = any($1::bigint[])
