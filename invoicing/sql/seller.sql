select seller_id, name, address, country, tax_id, time_zone, number_prefix, payment_days
from invoicing.seller where $1::text is null or seller_id = $1
order by seller_id
