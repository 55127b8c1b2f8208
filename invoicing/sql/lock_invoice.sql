select invoice_id, account_id, kind, status, number, currency, total_minor, paid_minor
from invoicing.invoice where number = $1 for no key update
