-- Accounts with a period to end, a draft, an invoice to review, one that is overdue, or a subscription that is past due.
select account_id from invoicing.subscription where period_ends_at <= $1 and state not in ('cancelled', 'expired')
union
select account_id from invoicing.invoice where status = 'draft'
union
select account_id from invoicing.invoice join invoicing.invoice_to_review using (invoice_id)
union
select i.account_id from invoicing.invoice i join invoicing.subscription s using (account_id)
where i.status = 'final' and i.kind <> 'credit_note' and i.due_at < $1 and i.total_minor > i.paid_minor
  and s.state = 'active'
union
select account_id from invoicing.subscription where state = 'past_due'
order by 1
