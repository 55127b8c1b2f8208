-- Records that no plan covers: of unknown accounts, of unknown bots, outside every subscription of a bot; of how many and
-- within which time. Without an account: of all.
select q.account_id, q.bot_id, case when a.account_id is null then 'unknown_account' else 'unknown_bot' end as code,
       min(q.quarter_at) as from_at, max(q.quarter_at) + interval '15 minutes' as to_at, sum(q.sessions)::bigint as sessions
from invoicing.usage_quarter q
left join invoicing.account a using (account_id)
where ($1::text is null or q.account_id = $1) and q.sessions > 0
  and not exists (select from invoicing.published_bot b where b.account_id = q.account_id and b.bot_id = q.bot_id)
group by 1, 2, 3
union all
select b.account_id, b.bot_id, 'no_subscription', min(r.started_at), max(r.started_at) + interval '1 millisecond', count(*)
from invoicing.published_bot b
cross join lateral (
  select unnest('{(,)}'::tstzmultirange - coalesce(range_agg(s.during), '{}')) as gap
  from invoicing.slice s where s.bot_key = b.bot_key
) uncovered
join invoicing.billed_record r
  on r.account_id = b.account_id and r.bot_id = b.bot_id and not r.is_void
  and r.started_at >= coalesce(lower(gap), '-infinity') and r.started_at < coalesce(upper(gap), 'infinity')
where $1::text is null or b.account_id = $1
group by 1, 2, 3
order by 1, 2, 3
