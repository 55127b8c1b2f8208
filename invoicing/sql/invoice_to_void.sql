select i.invoice_id, i.account_id, i.kind, i.status, i.currency, lower(i.during) as from_at, upper(i.during) as to_at,
       (select string_agg(distinct l.number, ', ') from invoicing.accounting_line l
        where l.accounts_for = i.invoice_id and l.kind = 'adjustment') as adjusted_by
from invoicing.invoice i where i.number = $1
