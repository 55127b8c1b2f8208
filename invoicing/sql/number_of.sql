select number from invoicing.invoice where invoice_id = $1
