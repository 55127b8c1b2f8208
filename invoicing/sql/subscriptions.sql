-- Subscriptions with the terms that now hold (or held last), by account, bot and start.
select s.subscription_id, s.account_id, s.bot_key, b.bot_id, b.name as bot_name, s.state, lower(s.during) as started_at,
       upper(s.during) as over_at, s.unit, s.anchor_at, s.anchor_wall, s.period_number, s.period_starts_at, s.period_ends_at,
       p.terms as plan, sl.is_trial, q.terms as pending
from invoicing.subscription s
join invoicing.published_bot b using (bot_key)
join lateral (
  select plan_id, plan_version, is_trial from invoicing.slice
  where subscription_id = s.subscription_id order by lower(during) desc limit 1
) sl on true
join invoicing.plan p on (p.plan_id, p.version) = (sl.plan_id, sl.plan_version)
left join invoicing.plan q on (q.plan_id, q.version) = (s.pending_plan_id, s.pending_plan_version)
where ($1::text is null or s.account_id = $1) and ($2::text is null or b.bot_id = $2)
  and ($3::timestamptz is null or (s.period_ends_at <= $3 and s.state not in ('cancelled', 'expired')))
order by s.account_id, b.bot_id, lower(s.during)
