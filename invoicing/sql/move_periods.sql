update invoicing.subscription_period set invoice_id = $2 where invoice_id = $1
