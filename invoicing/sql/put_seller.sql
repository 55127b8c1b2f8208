insert into invoicing.seller
  (seller_id, name, address, country, tax_id, time_zone, number_prefix, payment_days)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (seller_id) do update set
  name = excluded.name, address = excluded.address, country = excluded.country, tax_id = excluded.tax_id,
  time_zone = excluded.time_zone, number_prefix = excluded.number_prefix, payment_days = excluded.payment_days
