select line_number, kind, basis, bot_id, plan_id, plan_version, lower(during) as from_at, upper(during) as to_at, quantity,
       unit_price, tax_percent, amount_minor, detail
from invoicing.invoice_line where invoice_id = $1 order by line_number
