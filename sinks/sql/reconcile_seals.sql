-- Each seal of a conversation comes after the one before, holds more, and began when it began.
with ordered as (
  select s.*, lag(facts, 1, 0::bigint) over in_time as facts_before, lag(begun_ms, 1, begun_ms) over in_time as begun_before_ms,
         lag(sealed_at, 1, sealed_at) over in_time as sealed_before
  from billing.seal s window in_time as (partition by conversation_key order by sealed_through_ms)
)
select 'seal' as table_name, format('%s through %s', conversation_key, sealed_through_ms) as key,
       format('%s facts begun at %s, and %s begun at %s were sealed before', facts, begun_ms, facts_before, begun_before_ms) as what
from ordered
where facts <= facts_before or begun_ms <> begun_before_ms or sealed_at < sealed_before or begun_ms > sealed_through_ms
