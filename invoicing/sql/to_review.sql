insert into invoicing.invoice_to_review (invoice_id) values ($1) on conflict do nothing
