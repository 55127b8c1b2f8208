select invoice_id, status,
       (select count(*) from invoicing.invoice
        where account_id = $1 and kind = $2 and during = tstzrange($3, $4) and ordinal = $5 and status = 'void') as voided
from (select 1) one
left join invoicing.invoice i
  on i.account_id = $1 and i.kind = $2 and i.during = tstzrange($3, $4) and i.ordinal = $5 and i.status <> 'void'
