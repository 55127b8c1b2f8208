-- Whether everything that started in a period is billed and read, in one snapshot: changes of what started later, which
-- come all the time, do not matter.
select (select watermark from billing.stream_watermark) as watermark,
       exists (
         select from billing.session_records
         where account_id = $1 and started_at >= $2 and started_at < $3 and status = 'open'
       ) as has_open,
       exists (
         select from billing.session_record_changes c
         where position > $4 and account_id = $1 and (
           (started_at >= $2 and started_at < $3)
           or exists (
             select from invoicing.billed_record r
             where r.session_id = c.session_id and r.started_at >= $2 and r.started_at < $3
           )
         )
       ) as has_unread
