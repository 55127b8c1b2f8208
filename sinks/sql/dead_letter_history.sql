-- What was done about a dead letter and about those that its replays became.
select a.topic || '/' || a.partition || '/' || a."offset" as id, a.act, a.actor, a.why, a.change, a.acted_at,
       a.sent_topic || '/' || a.sent_partition || '/' || a.sent_offset as sent_as
from billing.dead_letter_act a
where a.act <> 'accept' and (a.topic, a.partition, a."offset") in (
  select d.topic, d.partition, d."offset" from billing.dead_letters d
  where (d.topic = $1 and d.partition = $2 and d."offset" = $3) or d.replay_of = $4
)
order by a.act_number
