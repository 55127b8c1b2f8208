-- The records that an invoice and its adjustments account for, of one bot: those that came and did not go again.
with line as (
  select records, removed from invoicing.accounting_line where accounts_for = $1 and bot_id = $2
), told as (
  select r.session_id, r.started_at, 1 as times from line, unnest(line.records) r
  union all
  select r.session_id, r.started_at, -1 from line, unnest(line.removed) r
)
select session_id, started_at from told group by 1, 2 having sum(times) > 0
