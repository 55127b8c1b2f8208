with added as (
  insert into invoicing.payment (invoice_id, reference, amount_minor, actor, paid_at) values ($1, $2, $3, $4, $5)
)
update invoicing.invoice set
  paid_minor = paid_minor + $3, status = case when paid_minor + $3 >= total_minor then 'paid' else 'final' end
where invoice_id = $1
