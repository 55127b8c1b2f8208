-- Dead letters that match whatever is given, by reason and state.
select reason, state, count(*) as dead_letters, count(distinct account_id) as accounts,
       min(recorded_at) as first_at, max(recorded_at) as last_at
from billing.dead_letters
where ($1::text is null or reason = $1)
  and ($2::text is null or topic = $2)
  and ($3::text is null or account_id = $3)
  and ($4::timestamptz is null or recorded_at >= $4)
  and ($5::timestamptz is null or recorded_at < $5)
  and ($6::text is null or state = $6)
group by reason, state
order by dead_letters desc, reason, state
