select credit_id, amount_minor, reason, actor from invoicing.manual_credit
where account_id = $1 and invoice_id is null and given_at <= $2
order by credit_id
