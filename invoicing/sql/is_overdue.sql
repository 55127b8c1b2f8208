select exists (
  select from invoicing.invoice
  where account_id = $1 and status = 'final' and kind <> 'credit_note' and due_at < $2 and total_minor > paid_minor
)
