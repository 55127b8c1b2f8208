-- Invoices by account, the newest period first; of one account or status, only drafts that wait for another reason than
-- their grace period, or the one of this number or id.
select i.invoice_id, i.number, i.account_id, i.kind, i.status, i.held_code, i.held_detail,
       lower(i.during) as from_at, upper(i.during) as to_at, i.currency, i.total_minor, i.paid_minor, i.issued_at, i.due_at,
       c.number as corrects
from invoicing.invoice i left join invoicing.invoice c on c.invoice_id = i.corrects
where ($1::text is null or i.account_id = $1) and ($2::text is null or i.status = $2)
  and (not $3 or (i.status = 'draft' and i.held_code is not null and i.held_code <> 'in_grace'))
  and ($4::text is null or i.number = $4 or i.invoice_id::text = $4)
order by i.account_id, upper(i.during) desc, lower(i.during) desc, i.kind, i.ordinal
