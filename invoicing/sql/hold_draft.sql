update invoicing.invoice set total_minor = $2, feed_position = $3, held_code = $4, held_detail = $5 where invoice_id = $1
