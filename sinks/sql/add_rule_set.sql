-- A rule set, if it is effective late enough that no event can be that old already, by the server's clock.
insert into billing.rule_set (account_id, bot_id, effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms)
select $1, $2, $3, $4, $5, $6
where $3::bigint >= (extract(epoch from clock_timestamp()) * 1000)::bigint + $7::bigint
on conflict do nothing
returning effective_ms
