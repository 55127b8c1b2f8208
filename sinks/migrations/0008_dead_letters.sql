-- What an operator does about dead letters, what their producers are told, and a limit that a restart does not forget.

-- Whose it is, as far as that can be told, and the first dead letter of those it was replayed from: null for none.
alter table billing.dead_letter add column account_id text collate "C", add column replay_of text;
create index dead_letter_by_replay on billing.dead_letter (replay_of) where replay_of is not null;

-- Who did what about a dead letter, when and why. Rows are added, never changed. `replay` stands before the mended
-- record is produced and `sent` after Kafka has acknowledged it, so that a crash between leaves its trace too.
-- `accept` is about no dead letter: those of the partition before this offset do not count for the limit.
create table billing.dead_letter_act (
  act_number     bigint      generated always as identity primary key,
  act            text        not null check (act in ('replay', 'sent', 'discard', 'accept')),
  topic          text        not null collate "C",
  partition      integer     not null,
  "offset"       bigint      not null,
  actor          text        not null,
  why            text        not null,
  change         jsonb       not null default '{}', -- the fields that were set, by their dotted names
  sent_topic     text        collate "C",
  sent_partition integer,
  sent_offset    bigint,
  acted_at       timestamptz not null default now(),
  checksum       bigint,
  check ((act = 'sent') = (sent_topic is not null and sent_partition is not null and sent_offset is not null))
);
create index dead_letter_act_by_letter on billing.dead_letter_act (topic, partition, "offset");
create index dead_letter_accepted on billing.dead_letter_act (topic, partition, "offset") where act = 'accept';

-- Without the names of topics: one that is no more gets another.
create function billing.checksum(a billing.dead_letter_act) returns bigint language sql immutable
return hash_record_extended(
  row(a.act_number, a.act, a.partition, a."offset", a.actor, a.why, a.change, a.sent_partition, a.sent_offset, a.acted_at), 0);
create trigger sign before insert on billing.dead_letter_act for each row execute function billing.sign();

-- Dead letters and what became of them. Open until the latest act; then discarded, or replayed: and resolved once the
-- record that was sent has been read and is no dead letter itself (`again` is the one that it became).
create view billing.dead_letters as
select d.topic || '/' || d.partition || '/' || d."offset" as id, d.topic, d.partition, d."offset",
       d.reason, d.field, d.detail, d.account_id, d.key, d.value, d.recorded_at, d.created_at, d.replay_of,
       case
         when a.act is null then 'open'
         when a.act = 'discard' then 'discarded'
         when n."offset" is null and s.next_offset > a.sent_offset then 'resolved'
         else 'replayed'
       end as state,
       n.topic || '/' || n.partition || '/' || n."offset" as again
from billing.dead_letter d
left join lateral (
  select l.act, l.sent_topic, l.sent_partition, l.sent_offset from billing.dead_letter_act l
  where l.topic = d.topic and l.partition = d.partition and l."offset" = d."offset" and l.act in ('sent', 'discard')
  order by l.act_number desc limit 1
) a on true
left join billing.source_partition s on s.topic = a.sent_topic and s.partition = a.sent_partition
left join billing.dead_letter n
  on n.topic = a.sent_topic and n.partition = a.sent_partition and n."offset" = a.sent_offset;

-- What the limit on dead letters has counted up to next_offset: those in a row, and those of its window of records.
alter table billing.source_partition
  add column limit_run          bigint not null default 0,
  add column limit_records      bigint not null default 0,
  add column limit_dead_letters bigint not null default 0;

-- Dead letters before this offset have been published to the topic of rejected events; those from before there was one
-- never are.
create table billing.rejected_event_position (
  topic       text    not null collate "C",
  partition   integer not null,
  next_offset bigint  not null,
  primary key (topic, partition)
);
insert into billing.rejected_event_position (topic, partition, next_offset)
select topic, partition, next_offset from billing.source_partition;

do $$
begin
  if not exists (select from pg_roles where rolname = 'quarterhour_operator') then
    begin
      create role quarterhour_operator nologin;
    exception when duplicate_object or unique_violation then
      null;
    end;
  end if;
end $$;

grant usage on schema billing to quarterhour_operator;
grant select on billing.dead_letters to quarterhour_operator;
grant select, insert on billing.dead_letter_act to quarterhour_operator;

-- The worker reads what it publishes of a dead letter, and what was accepted; never what a record held.
grant select (topic, partition, "offset", reason, field, detail, account_id, recorded_at, replay_of)
  on billing.dead_letter to quarterhour_worker;
grant select on billing.dead_letter_act to quarterhour_worker;
grant select, insert, update on billing.rejected_event_position to quarterhour_worker;
