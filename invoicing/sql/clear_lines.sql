delete from invoicing.invoice_line where invoice_id = $1
