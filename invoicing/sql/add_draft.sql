insert into invoicing.invoice (invoice_id, account_id, kind, during, ordinal, corrects, status, currency)
values ($1, $2, $3, tstzrange($4, $5), $6, $7, 'draft', $8)
