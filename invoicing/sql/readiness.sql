-- Whether everything that started in a period is billed and read, in one snapshot.
select (select watermark from billing.stream_watermark) as watermark,
       exists (
         select from billing.session_records
         where account_id = $1 and started_at >= $2 and started_at < $3 and status = 'open'
       ) as has_open,
       exists (
         select from billing.session_record_changes where position > $4 and account_id = $1
       ) as has_unread
