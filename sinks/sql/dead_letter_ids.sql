-- Of dead letters that match whatever is given: their ids, oldest first.
select topic, partition, "offset" from billing.dead_letters
where ($1::text is null or reason = $1)
  and ($2::text is null or topic = $2)
  and ($3::text is null or account_id = $3)
  and ($4::timestamptz is null or recorded_at >= $4)
  and ($5::timestamptz is null or recorded_at < $5)
  and ($6::text is null or state = $6)
order by recorded_at, topic, partition, "offset"
