select * from billing.session_records where session_id = $1
