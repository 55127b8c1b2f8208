-- serves programs that know 0001
-- Lines that account for the period of an issued invoice: its own of plans and sessions, and the adjustments of it on
-- others. A void invoice accounts for nothing, and neither does its credit note, which has the same lines.
create view invoicing.accounting_line as
select l.accounts_for, i.number, l.kind, l.bot_id, l.tax_percent, l.amount_minor, l.records, l.removed
from (
  select invoice_id as accounts_for, invoice_id, kind, bot_id, tax_percent, amount_minor, records, removed
  from invoicing.invoice_line where kind in ('price', 'usage', 'alert')
  union all
  select adjusts, invoice_id, kind, bot_id, tax_percent, amount_minor, records, removed
  from invoicing.invoice_line where kind = 'adjustment'
) l
join invoicing.invoice i using (invoice_id)
where i.status in ('final', 'paid') and i.kind <> 'credit_note';
grant select on invoicing.accounting_line to quarterhour_aggregator;

create index invoice_line_by_adjusted on invoicing.invoice_line (adjusts) where kind = 'adjustment';
