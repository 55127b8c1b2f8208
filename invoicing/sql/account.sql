select a.account_id, a.seller_id, a.name, a.address, a.country, a.tax_id, a.tax_percent, a.currency, a.plan_kind,
       coalesce(z.moves_at, '{}') as moves_at, coalesce(z.zones, '{}') as zones
from invoicing.account a
left join lateral (
  select array_agg(effective_at order by effective_at) as moves_at, array_agg(time_zone order by effective_at) as zones
  from invoicing.account_zone where account_id = a.account_id
) z on true
where $1::text is null or a.account_id = $1
order by a.account_id
