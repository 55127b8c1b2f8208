-- The usage records that are billed, and of what. $1, $2, $3: account and start.
select session_id, account_id, bot_id, subject_id from billing.session_record
where kind = 'usage' and status <> 'void' and ($1::text is null or account_id = $1)
  and ($2::timestamptz is null or started_at >= $2) and ($3::timestamptz is null or started_at < $3)
