-- Net of tax, what an invoice and the adjustments of it on issued invoices have billed, by bot and rate.
select bot_id, tax_percent, sum(amount_minor)::bigint as amount_minor
from invoicing.invoice_line l join invoicing.invoice i using (invoice_id)
where ((l.invoice_id = $1 and l.kind in ('price', 'usage', 'alert')) or (l.adjusts = $1 and l.kind = 'adjustment'))
  and i.status in ('final', 'paid') and i.kind <> 'credit_note'
group by 1, 2
