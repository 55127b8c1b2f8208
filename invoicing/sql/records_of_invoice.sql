-- The records behind an invoice's lines, as they were invoiced. Of an adjustment: those that came and those that went.
-- A record's kind is in no line of an adjustment: the record itself says it.
select l.line_number, coalesce(b.kind, l.kind) as kind, l.bot_id, l.change, r.session_id, r.position, r.revision, r.started_at,
       r.ended_at, r.bot_ms, r.agent_ms, r.user_id, r.channel, r.subject_id
from (
  select line_number, kind, bot_id, case when kind = 'adjustment' then 'came' end as change, records
  from invoicing.invoice_line where invoice_id = $1
  union all
  select line_number, kind, bot_id, 'went', removed from invoicing.invoice_line where invoice_id = $1
) l
cross join unnest(l.records) r
left join invoicing.billed_record b using (session_id)
order by l.line_number, r.started_at, r.session_id, l.change
