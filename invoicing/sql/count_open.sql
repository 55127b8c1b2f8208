-- Sessions that are not final yet, by bot, kind and start.
select bot_id, kind, started_at from billing.session_records
where account_id = $1 and status = 'open' and started_at >= $2
