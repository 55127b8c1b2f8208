-- The records that an invoice and its adjustments have accounted for, of one bot.
with line as (
  select l.* from invoicing.invoice_line l join invoicing.invoice i using (invoice_id)
  where ((l.invoice_id = $1 and l.kind in ('usage', 'alert')) or (l.adjusts = $1 and l.kind = 'adjustment'))
    and i.status in ('final', 'paid') and i.kind <> 'credit_note' and l.bot_id = $2
)
select r.session_id, r.started_at, 1 as times from line, unnest(line.records) r
union all
select r.session_id, r.started_at, -1 from line, unnest(line.removed) r
