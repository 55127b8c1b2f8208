-- The contract view, filtered by whatever is given, in the order of the published form.
select * from billing.session_records
where ($1::text is null or account_id = $1)
  and ($2::timestamptz is null or started_at >= $2)
  and ($3::timestamptz is null or started_at < $3)
  and ($4::text is null or status = $4)
order by account_id collate "C", bot_id collate "C", kind, coalesce(conversation_id, delivery_id) collate "C", started_at,
         session_id
