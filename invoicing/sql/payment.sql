select amount_minor from invoicing.payment where invoice_id = $1 and reference = $2
