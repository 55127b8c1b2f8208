select count(*) from invoicing.invoice where corrects = $1 and kind = 'adjustment' and status <> 'void'
