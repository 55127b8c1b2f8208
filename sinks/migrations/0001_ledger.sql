-- The ledger: what was billed, the facts it was computed from, and how far the sources were read.
-- Times of the domain that nobody queries by (clocks, settling) are integer milliseconds since 1970 UTC, like in the code;
-- times that consumers read are timestamptz.

create schema if not exists billing;

-- Where each source partition stands, and who may move it. A checkpoint compares and sets (next_offset, owner).
create table billing.source_partition (
  topic       text    not null collate "C",
  partition   integer not null,
  next_offset bigint  not null,
  clock_ms    bigint  not null,           -- newest event time seen, or the wall clock where read to the end; never runs backwards
  gap_count   bigint  not null default 0, -- offsets that held no record for us (transaction markers, compaction)
  owner       uuid    not null,           -- the claim that may write
  claimed_at  timestamptz not null default now(),
  saved_at    timestamptz not null default now(),
  primary key (topic, partition)
);

-- How many partitions each topic had at the first start: keys move when this changes, so a change stops the worker.
create table billing.source_topic (
  topic      text    primary key collate "C",
  partitions integer not null check (partitions > 0)
);

-- Records read, by outcome, in exactly the offset ranges that were saved (billing-rules.md section 1).
create table billing.outcome_count (
  topic     text    not null collate "C",
  partition integer not null,
  outcome   text    not null,
  reason    text    not null default '', -- the reason code of a dead letter
  records   bigint  not null,
  primary key (topic, partition, outcome, reason)
);

create table billing.conversation (
  conversation_key uuid    primary key, -- 16 bytes BLAKE2b of account_id|bot_id|conversation_id
  account_id       text    not null collate "C",
  bot_id           text    not null collate "C",
  conversation_id  text    not null collate "C",
  shard            integer not null,
  revision         bigint  not null,    -- size of the set of facts
  settles_at_ms    bigint  not null,    -- without the allowed lateness
  settled          boolean not null,
  record_ids       bytea   not null     -- the records that exist, 16 bytes each: those that vanish become void
);
create index conversation_to_settle on billing.conversation (shard, settles_at_ms) where not settled;

-- The facts, appended by checkpoint and made one chunk when the conversation settles (sessionizer/facts.py has the packing).
create table billing.fact_chunk (
  conversation_key uuid   not null,
  revision         bigint not null,    -- of the conversation with this chunk: so the order of chunks
  facts            bytea  not null,
  strings          text   not null,
  primary key (conversation_key, revision)
);
alter table billing.fact_chunk alter column facts set storage external;

create table billing.session_record (
  session_id         uuid        primary key,
  kind               text        not null check (kind in ('usage', 'alert')),
  account_id         text        not null collate "C",
  bot_id             text        not null collate "C",
  user_id            text        not null,
  channel            text        not null,
  subject_id         text        not null collate "C", -- conversation_id or delivery_id
  session_started_at timestamptz,
  block              integer,
  started_at         timestamptz not null,
  ended_at           timestamptz not null,
  bot_ms             bigint,
  agent_ms           bigint,
  user_messages      integer,
  bot_messages       integer,
  status             text        not null check (status in ('open', 'final', 'void')),
  revision           bigint      not null,
  corrected_at       timestamptz,
  algorithm          integer     not null,
  shard              integer     not null,
  settles_at_ms      bigint      not null  -- of its session, without the allowed lateness
);
create index session_record_to_settle on billing.session_record (shard, settles_at_ms) where status = 'open';
create index session_record_by_account on billing.session_record (account_id, started_at);

-- Reports of an alert delivery that differ from its first, which is the record: only to tell a repeat from a conflict.
create table billing.alert_report (
  session_id  uuid   not null,
  reported_ms bigint not null,
  user_id     text   not null collate "C",
  channel     text   not null collate "C",
  primary key (session_id, reported_ms, user_id, channel)
);

create table billing.dead_letter (
  topic       text        not null collate "C",
  partition   integer     not null,
  "offset"    bigint      not null,
  reason      text        not null,
  field       text        not null,
  detail      text        not null,
  key         bytea,
  value       bytea,
  recorded_at timestamptz not null,    -- the broker's time of the record
  created_at  timestamptz not null default now(),
  primary key (topic, partition, "offset")
);

-- Every change of a record that consumers must hear of, in commit order without gaps: the counter is taken last
-- before commit and its row stays locked until then.
create table billing.change_counter (
  only_row      boolean primary key default true check (only_row),
  last_position bigint  not null
);
insert into billing.change_counter (last_position) values (0);

create table billing.session_record_change (
  position           bigint      primary key,
  session_id         uuid        not null,
  kind               text        not null,
  account_id         text        not null collate "C",
  bot_id             text        not null collate "C",
  user_id            text        not null,
  channel            text        not null,
  subject_id         text        not null collate "C",
  session_started_at timestamptz,
  block              integer,
  started_at         timestamptz not null,
  ended_at           timestamptz not null,
  bot_ms             bigint,
  agent_ms           bigint,
  user_messages      integer,
  bot_messages       integer,
  status             text        not null,
  revision           bigint      not null,
  corrected_at       timestamptz,
  algorithm          integer     not null
);

-- Rule sets (billing-rules.md section 2): rows are added, never changed. Null account and bot: all bots.
create table billing.rule_set (
  account_id         text   collate "C",
  bot_id             text   collate "C",
  effective_ms       bigint not null,
  block_ms           bigint not null check (block_ms > 0),
  idle_timeout_ms    bigint not null check (idle_timeout_ms between 300000 and 1209600000),
  handoff_timeout_ms bigint not null check (handoff_timeout_ms > 0),
  check ((account_id is null) = (bot_id is null)),
  unique nulls not distinct (account_id, bot_id, effective_ms)
);
insert into billing.rule_set (effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms)
values (0, 900000, 900000, 86400000);

-- The contract: consumers read these views and nothing else.
create view billing.session_records as
select session_id, kind, account_id, bot_id, user_id, channel,
       case kind when 'usage' then subject_id end as conversation_id,
       case kind when 'alert' then subject_id end as delivery_id,
       session_started_at, block, started_at, ended_at, bot_ms, agent_ms, user_messages, bot_messages,
       status, revision, corrected_at, algorithm
from billing.session_record;

create view billing.session_record_changes as
select position, session_id, kind, account_id, bot_id, user_id, channel,
       case kind when 'usage' then subject_id end as conversation_id,
       case kind when 'alert' then subject_id end as delivery_id,
       session_started_at, block, started_at, ended_at, bot_ms, agent_ms, user_messages, bot_messages,
       status, revision, corrected_at, algorithm
from billing.session_record_change;

-- Whether two versions of a record bill the same (status, revision and settling time aside).
create function billing.same_bill(a billing.session_record, b billing.session_record) returns boolean
language sql immutable parallel safe
return (a.user_id, a.channel, a.started_at, a.ended_at, a.bot_ms, a.agent_ms, a.user_messages, a.bot_messages)
  is not distinct from
  (b.user_id, b.channel, b.started_at, b.ended_at, b.bot_ms, b.agent_ms, b.user_messages, b.bot_messages)
  and a.status <> 'void';

-- Whether consumers have been told that this record is final, now or before it became void.
create function billing.was_final(r billing.session_record) returns boolean
language sql immutable parallel safe
return r.status = 'final' or r.corrected_at is not null;
