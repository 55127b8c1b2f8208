delete from invoicing.invoice_to_review where invoice_id = any($1::uuid[])
