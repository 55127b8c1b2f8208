select invoice_id, kind, lower(during) as from_at, upper(during) as to_at, ordinal, corrects, currency
from invoicing.invoice where account_id = $1 and status = 'draft'
order by upper(during), lower(during), kind desc, ordinal
