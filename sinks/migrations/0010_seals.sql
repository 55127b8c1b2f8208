-- Facts so old that nothing can come before them any more are deleted: of their conversation a seal stays, and the records.
-- Rows are added, never changed; the newest of a conversation says how much of it is sealed.
create table billing.seal (
  conversation_key  uuid        not null,
  sealed_through_ms bigint      not null, -- facts at or before it are gone, and none may come any more
  facts             bigint      not null, -- how many are gone, with all earlier seals
  begun_ms          bigint      not null, -- the time of the conversation's first fact: it decides the rule set
  sealed_at         timestamptz not null default now(),
  checksum          bigint,
  primary key (conversation_key, sealed_through_ms)
);
create index seal_newest on billing.seal (sealed_through_ms);

create function billing.checksum(s billing.seal) returns bigint language sql immutable
return hash_record_extended(row(s.conversation_key, s.sealed_through_ms, s.facts, s.begun_ms, s.sealed_at), 0);
create trigger sign before insert on billing.seal for each row execute function billing.sign();

-- From which age on something of it may be sealed. Null: since it first settled. One that was tried in vain is tried later.
alter table billing.conversation add column seal_due_ms bigint;
create index conversation_to_seal on billing.conversation (shard, (coalesce(seal_due_ms, settles_at_ms))) where settled;

-- Conversations that are to be billed anew by an algorithm of at least this version: rows go in the checkpoint that did it.
create table billing.recompute_request (
  shard            integer not null,
  conversation_key uuid    not null,
  algorithm        integer not null,
  primary key (shard, conversation_key)
);

-- Who had that done, when and why. Rows are added, never changed.
create table billing.recomputation (
  recomputation_number bigint      generated always as identity primary key,
  algorithm            integer     not null,
  conversations        bigint      not null,
  actor                text        not null,
  why                  text        not null,
  requested_at         timestamptz not null default now()
);

grant select, insert on billing.seal to quarterhour_worker;
grant select, delete on billing.recompute_request to quarterhour_worker;
grant select, insert on billing.recomputation to quarterhour_operator;
