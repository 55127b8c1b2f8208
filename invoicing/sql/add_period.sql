insert into invoicing.subscription_period (subscription_id, period_number, during, whole, invoice_id)
values ($1, (select coalesce(max(period_number), 0) + 1 from invoicing.subscription_period where subscription_id = $1),
        tstzrange($2, $3), tstzrange($4, $5), $6)
