select session_id, started_at from invoicing.billed_record r
join unnest($3::timestamptz[], $4::timestamptz[]) as w (from_at, to_at)
  on r.started_at >= w.from_at and r.started_at < w.to_at
where r.account_id = $1 and r.bot_id = $2 and not r.is_void
