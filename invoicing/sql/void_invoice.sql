update invoicing.invoice set status = 'void' where invoice_id = $1
