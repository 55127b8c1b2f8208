-- What an account's bots are called, and the plans.
select 'bot' as what, bot_id as id, coalesce(nullif(name, ''), bot_id) as name
from invoicing.published_bot where account_id = $1
union all
(select distinct on (plan_id) 'plan', plan_id, terms ->> 'name' from invoicing.plan order by plan_id, version desc)
