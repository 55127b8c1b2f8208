-- How many usage records are billed. $1, $2, $3: account and start.
select count(*) from billing.session_record
where kind = 'usage' and status <> 'void' and ($1::text is null or account_id = $1)
  and ($2::timestamptz is null or started_at >= $2) and ($3::timestamptz is null or started_at < $3)
