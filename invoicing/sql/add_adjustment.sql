-- An adjustment line, with the records that came as they are now, and those that went as they were last invoiced.
insert into invoicing.invoice_line
  (invoice_id, line_number, kind, basis, bot_id, quantity, tax_percent, amount_minor, detail, adjusts, during, records,
   removed)
select $1, $2, 'adjustment', 'other', $3::text, 0, $4, $5, $6, $7, tstzrange($11, $12),
       coalesce((
         select array_agg(row(session_id, position, revision, started_at, ended_at, bot_ms, agent_ms, user_id, channel,
                              subject_id)::invoicing.invoiced_record order by started_at, session_id)
         from invoicing.billed_record where session_id = any($8::uuid[])
       ), '{}'),
       coalesce((
         select array_agg(last.record order by (last.record).started_at, (last.record).session_id)
         from (
           select distinct on (r.session_id, r.started_at) r as record
           from invoicing.accounting_line l, unnest(l.records) r
           join unnest($9::uuid[], $10::timestamptz[]) as gone (session_id, started_at)
             on gone.session_id = r.session_id and gone.started_at = r.started_at
           where l.accounts_for = $7 and l.bot_id = $3::text
           order by r.session_id, r.started_at, r.position desc
         ) last
       ), '{}')
