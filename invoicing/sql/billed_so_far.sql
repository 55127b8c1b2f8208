-- Net of tax, what an invoice and the adjustments of it on issued invoices have billed, by bot and rate.
select bot_id, tax_percent, sum(amount_minor)::bigint as amount_minor
from invoicing.accounting_line where accounts_for = $1
group by 1, 2
