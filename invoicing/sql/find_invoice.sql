-- By number, or by id.
select i.*, lower(during) as from_at, upper(during) as to_at,
       (select number from invoicing.invoice c where c.invoice_id = i.corrects) as corrects_number
from invoicing.invoice i
where number = $1 or invoice_id::text = $1
