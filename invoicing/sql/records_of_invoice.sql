-- The records behind an invoice's lines, as they were invoiced. Of an adjustment: those that came (1) and went (-1).
select l.line_number, l.bot_id, l.kind, l.basis, 1 as sign, (r).*
from invoicing.invoice_line l, unnest(l.records) r where l.invoice_id = $1
union all
select l.line_number, l.bot_id, l.kind, l.basis, -1, (r).*
from invoicing.invoice_line l, unnest(l.removed) r where l.invoice_id = $1
order by line_number, started_at, session_id, sign
