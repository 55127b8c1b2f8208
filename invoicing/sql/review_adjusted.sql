insert into invoicing.invoice_to_review (invoice_id)
select distinct l.adjusts from invoicing.invoice_line l join invoicing.invoice i on i.invoice_id = l.adjusts
where l.invoice_id = $1 and l.kind = 'adjustment' and i.status in ('final', 'paid')
on conflict do nothing
