-- An issued invoice is to be compared with what is owed now; a draft is computed anew anyway.
insert into invoicing.invoice_to_review (invoice_id)
select invoice_id from invoicing.invoice where invoice_id = $1 and status in ('final', 'paid')
on conflict do nothing
