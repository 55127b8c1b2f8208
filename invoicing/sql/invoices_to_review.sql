select i.invoice_id, i.number, lower(i.during) as from_at, upper(i.during) as to_at,
       (select min(l.tax_percent) from invoicing.invoice_line l where l.invoice_id = i.invoice_id and l.kind <> 'tax') as tax_percent
from invoicing.invoice_to_review r join invoicing.invoice i using (invoice_id)
where i.account_id = $1 and i.status in ('final', 'paid')
order by lower(i.during), upper(i.during)
