insert into invoicing.number_series as s (seller_id, year, last) values ($1, $2, 1)
on conflict (seller_id, year) do update set last = s.last + 1
returning last
