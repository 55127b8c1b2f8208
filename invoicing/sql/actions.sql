select acted_at, as_of, actor, event, account_id, b.bot_id, subject, details
from invoicing.action a left join (select bot_key, bot_id from invoicing.published_bot) b using (bot_key)
where $1::text is null or account_id = $1
order by action_id
