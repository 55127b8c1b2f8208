-- Records that no plan covers: of unknown accounts, of unknown bots, outside every subscription of a bot; of how many and
-- within which time. Without an account: of all. From bot to bot by the index: what is covered is not read.
with recursive counted as (
  (select account_id, bot_id from invoicing.usage_quarter where $1::text is null or account_id = $1 order by 1, 2 limit 1)
  union all
  select following.account_id, following.bot_id
  from counted c cross join lateral (
    select q.account_id, q.bot_id from invoicing.usage_quarter q
    where (q.account_id, q.bot_id) > (c.account_id, c.bot_id) and ($1::text is null or q.account_id = $1)
    order by 1, 2 limit 1
  ) following
), uncovered as (
  select b.account_id, b.bot_id, unnest('{(,)}'::tstzmultirange - coalesce(range_agg(s.during), '{}')) as gap
  from invoicing.published_bot b left join invoicing.slice s using (bot_key)
  where $1::text is null or b.account_id = $1
  group by 1, 2
)
select c.account_id, c.bot_id, case when a.account_id is null then 'unknown_account' else 'unknown_bot' end as code,
       q.from_at, q.to_at, q.sessions
from counted c
left join invoicing.account a using (account_id)
cross join lateral (
  select min(quarter_at) as from_at, max(quarter_at) + interval '15 minutes' as to_at, sum(sessions)::bigint as sessions
  from invoicing.usage_quarter where account_id = c.account_id and bot_id = c.bot_id and sessions > 0
) q
where q.sessions > 0
  and not exists (select from invoicing.published_bot b where b.account_id = c.account_id and b.bot_id = c.bot_id)
union all
select u.account_id, u.bot_id, 'no_subscription', min(r.from_at), max(r.to_at), sum(r.sessions)::bigint
from uncovered u
cross join lateral (
  select min(started_at) as from_at, max(started_at) + interval '1 millisecond' as to_at, count(*) as sessions
  from invoicing.billed_record
  where account_id = u.account_id and bot_id = u.bot_id and not is_void
    and started_at >= coalesce(lower(u.gap), '-infinity') and started_at < coalesce(upper(u.gap), 'infinity')
) r
where r.sessions > 0
group by 1, 2, 3
order by 1, 2, 3
