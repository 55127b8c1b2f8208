select seller_id, name, address, country, tax_id, time_zone, number_prefix, payment_days
from invoicing.seller where seller_id = $1
