select reference, amount_minor, actor, paid_at from invoicing.payment where invoice_id = $1 order by paid_at, reference
