insert into invoicing.account
  (account_id, seller_id, name, address, country, tax_id, tax_percent, currency, plan_kind)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (account_id) do update set
  seller_id = excluded.seller_id, name = excluded.name, address = excluded.address, country = excluded.country,
  tax_id = excluded.tax_id, tax_percent = excluded.tax_percent, plan_kind = excluded.plan_kind
