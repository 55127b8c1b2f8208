update invoicing.invoice set
  status = 'final', held_code = null, held_detail = null, total_minor = $2, feed_position = $3, seller_id = $4,
  number_year = $5, number_in_year = $6, number = $7, issued_at = $8, due_at = $9, document = $10, pdf = $11, pdf_sha256 = $12
where invoice_id = $1
