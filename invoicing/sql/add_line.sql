-- A line, and the records that it bills: of its bot, kind and time, so many from the first'th on.
insert into invoicing.invoice_line
  (invoice_id, line_number, kind, basis, bot_id, plan_id, plan_version, during, quantity, unit_price, tax_percent,
   amount_minor, detail, records)
select $1, $2, $3::text, $4, $5::text, $6, $7, case when $8::timestamptz is not null then tstzrange($8::timestamptz, $9::timestamptz) end, $10::bigint, $11, $12, $13, $14,
       coalesce((
         select array_agg(row(session_id, position, revision, started_at, ended_at, bot_ms, agent_ms, user_id, channel,
                              subject_id)::invoicing.invoiced_record order by started_at, session_id)
         from (
           select * from invoicing.billed_record
           where account_id = $15 and bot_id = $5::text and kind = $3::text and not is_void and started_at >= $8::timestamptz and started_at < $9::timestamptz
             and $10::bigint > 0
           order by started_at, session_id offset $16::bigint limit $10::bigint
         ) r
       ), '{}')
returning cardinality(records) as found
