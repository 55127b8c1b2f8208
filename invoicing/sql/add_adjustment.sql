insert into invoicing.invoice_line
  (invoice_id, line_number, kind, basis, bot_id, quantity, tax_percent, amount_minor, detail, adjusts, during, records,
   removed)
select $1, $2, 'adjustment', 'other', $3, 0, $4, $5, $6, $7, tstzrange($11, $12),
       coalesce((
         select array_agg(row(session_id, position, revision, started_at, ended_at, bot_ms, agent_ms, user_id, channel,
                              subject_id)::invoicing.invoiced_record order by started_at, session_id)
         from invoicing.billed_record where session_id = any($8::uuid[])
       ), '{}'),
       coalesce((
         select array_agg(distinct r) from (
           select l.* from invoicing.invoice_line l join invoicing.invoice i using (invoice_id)
           where ((l.invoice_id = $7 and l.kind in ('usage', 'alert')) or (l.adjusts = $7 and l.kind = 'adjustment'))
             and i.status in ('final', 'paid')
         ) line, unnest(line.records) r
         join unnest($9::uuid[], $10::timestamptz[]) as gone (session_id, started_at)
           on gone.session_id = r.session_id and gone.started_at = r.started_at
       ), '{}')
