insert into invoicing.published_bot (account_id, bot_id, name) values ($1, $2, $3)
on conflict (account_id, bot_id) do update set name = case when excluded.name = '' then published_bot.name else excluded.name end
returning bot_key
