-- Give all that was read of a topic that is no more another name, $2: it stays counted. Whoever reads there is fenced.
with partitions as (
  update billing.source_partition set topic = $2, owner = $3 where topic = $1
), outcomes as (
  update billing.outcome_count set topic = $2 where topic = $1
), published as (
  update billing.rejected_event_position set topic = $2 where topic = $1
), acts as (
  update billing.dead_letter_act
  set topic = case when topic = $1 then $2 else topic end,
      sent_topic = case when sent_topic = $1 then $2 else sent_topic end
  where $1 in (topic, sent_topic)
)
update billing.dead_letter
set topic = case when topic = $1 then $2 else topic end,
    replay_of = case when split_part(replay_of, '/', 1) = $1 then $2 || substr(replay_of, length($1) + 1) else replay_of end
where topic = $1 or split_part(replay_of, '/', 1) = $1
