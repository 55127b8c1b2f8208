-- Invoices, newest period first; all accounts' if none is named, and only those that wait for a reason other than time if
-- held ones are asked for.
select invoice_id, number, account_id, kind, status, held_code, held_detail, lower(during) as from_at, upper(during) as to_at,
       currency, total_minor, paid_minor, issued_at, due_at,
       (select number from invoicing.invoice c where c.invoice_id = i.corrects) as corrects
from invoicing.invoice i
where ($1::text is null or account_id = $1) and ($2::text is null or status = $2)
  and (not $3 or (held_code is not null and held_code <> 'in_grace'))
order by account_id, upper(during) desc, lower(during) desc, kind, ordinal
