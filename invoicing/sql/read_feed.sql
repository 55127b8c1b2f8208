-- One batch of changes after the feed's position, which the caller has locked: the records as they now are, their number by
-- the quarter hour, the issued invoices whose period lost or gained one, and the new position.
with change as materialized (
  select * from billing.session_record_changes where position > $1 order by position limit $2
), latest as materialized (
  select distinct on (session_id) *, status = 'void' as is_void from change order by session_id, position desc
), before as materialized (
  select r.session_id, r.started_at, r.is_void from latest join invoicing.billed_record r using (session_id)
), moved as materialized (
  select account_id, bot_id, kind, started_at, 1 as sessions from latest l
  where not is_void
    and not exists (select from before b where b.session_id = l.session_id and not b.is_void and b.started_at = l.started_at)
  union all
  select l.account_id, l.bot_id, l.kind, b.started_at, -1 from before b join latest l using (session_id)
  where not b.is_void and (l.is_void or l.started_at <> b.started_at)
), kept as (
  insert into invoicing.billed_record
    (session_id, position, account_id, bot_id, kind, started_at, ended_at, bot_ms, agent_ms, user_id, channel, subject_id,
     revision, is_void)
  select session_id, position, account_id, bot_id, kind, started_at, ended_at, bot_ms, agent_ms, user_id, channel,
         coalesce(conversation_id, delivery_id), revision, is_void
  from latest
  on conflict (session_id) do update set
    position = excluded.position, started_at = excluded.started_at, ended_at = excluded.ended_at,
    bot_ms = excluded.bot_ms, agent_ms = excluded.agent_ms, user_id = excluded.user_id, channel = excluded.channel,
    revision = excluded.revision, is_void = excluded.is_void
), counted as (
  insert into invoicing.usage_quarter as q (account_id, bot_id, kind, quarter_at, sessions)
  select account_id, bot_id, kind, date_bin('15 minutes', started_at, 'epoch'), sum(sessions)
  from moved group by 1, 2, 3, 4 having sum(sessions) <> 0
  on conflict (account_id, bot_id, kind, quarter_at) do update set sessions = q.sessions + excluded.sessions
), to_review as (
  insert into invoicing.invoice_to_review (invoice_id)
  select distinct i.invoice_id
  from (select distinct account_id, started_at from moved) m
  join invoicing.invoice i on i.account_id = m.account_id and i.kind = 'period' and i.during @> m.started_at
    and i.status in ('final', 'paid')
  on conflict do nothing
)
update invoicing.feed set position = (select max(position) from change)
where exists (select from change)
returning position
