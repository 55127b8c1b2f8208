select i.invoice_id, i.account_id, i.kind, i.status, i.currency, lower(i.during) as from_at, upper(i.during) as to_at,
       (select string_agg(distinct j.number, ', ') from invoicing.invoice_line l join invoicing.invoice j using (invoice_id)
        where l.adjusts = i.invoice_id and l.kind = 'adjustment' and j.status in ('final', 'paid') and j.kind <> 'credit_note') as adjusted_by
from invoicing.invoice i where i.number = $1
