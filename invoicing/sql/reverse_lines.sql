-- All lines of the second invoice with the opposite amounts, for the first.
insert into invoicing.invoice_line
  (invoice_id, line_number, kind, basis, bot_id, plan_id, plan_version, during, quantity, unit_price, tax_percent,
   amount_minor, detail, adjusts, records, removed)
select $1, line_number, kind, basis, bot_id, plan_id, plan_version, during, quantity, unit_price, tax_percent,
       -amount_minor, detail, adjusts, records, removed
from invoicing.invoice_line where invoice_id = $2
