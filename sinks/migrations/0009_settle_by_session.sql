-- A session settles as a whole, so the time is kept on its last record alone, and only until the watermark has passed it:
-- while a session goes on, a message moves it on one record instead of on all. Records that are open here keep theirs,
-- each for itself, until they are written again. A column added and one dropped leave the rows of a large table alone.
alter table billing.session_record add column session_settles_at_ms bigint; -- without the allowed lateness
update billing.session_record set session_settles_at_ms = settles_at_ms where status = 'open';
alter table billing.session_record drop column settles_at_ms;
create index session_record_to_settle on billing.session_record (shard, session_settles_at_ms)
  where session_settles_at_ms is not null;
-- Those that become final with the last record of their session. Ids of conversations alone nearly tell them apart.
create index session_record_waiting on billing.session_record (subject_id, session_started_at)
  where status = 'open' and session_settles_at_ms is null;
