-- Rows that are written once and never changed bear a checksum of what was written, so that `quarterhour reconcile` can
-- tell one that was changed. Null: written before this was kept. Equal on every machine of the same byte order.
alter table billing.fact_chunk add column checksum bigint;
alter table billing.alert_report add column checksum bigint;
alter table billing.dead_letter add column checksum bigint;
alter table billing.rule_set add column checksum bigint;

create function billing.checksum(c billing.fact_chunk) returns bigint language sql immutable
return hash_record_extended(row(c.conversation_key, c.revision, c.facts, c.strings), 0);

create function billing.checksum(r billing.alert_report) returns bigint language sql immutable
return hash_record_extended(row(r.session_id, r.reported_ms, r.user_id, r.channel), 0);

-- Without its topic: that of one that is no more gets another name.
create function billing.checksum(d billing.dead_letter) returns bigint language sql immutable
return hash_record_extended(
  row(d.partition, d."offset", d.reason, d.field, d.detail, d.key, d.value, d.recorded_at, d.created_at), 0);

create function billing.checksum(s billing.rule_set) returns bigint language sql immutable
return hash_record_extended(
  row(s.account_id, s.bot_id, s.effective_ms, s.block_ms, s.idle_timeout_ms, s.handoff_timeout_ms), 0);

update billing.rule_set s set checksum = billing.checksum(s);

-- Of the tables with few rows; chunks of facts are many, and their statements write the checksum.
create function billing.sign() returns trigger language plpgsql as $$
begin
  new.checksum := billing.checksum(new);
  return new;
end $$;
create trigger sign before insert on billing.alert_report for each row execute function billing.sign();
create trigger sign before insert on billing.dead_letter for each row execute function billing.sign();
create trigger sign before insert on billing.rule_set for each row execute function billing.sign();
