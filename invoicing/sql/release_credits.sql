update invoicing.manual_credit set invoice_id = null where invoice_id = $1
