-- What goes to another shard: conversations (usage) with their records, and alerts.
create temporary table moved_subject (
  kind text collate "C", account_id text collate "C", bot_id text collate "C", subject_id text collate "C", shard integer
) on commit drop
