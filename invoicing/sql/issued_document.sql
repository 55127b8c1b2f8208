select number, document, pdf, pdf_sha256 from invoicing.invoice where invoice_id = $1
