-- Where the reading of a partition began, so that offsets read can be held against what was counted of them. For what
-- was read before this was kept, the counts are taken to be right.
alter table billing.source_partition add column first_offset bigint not null default 0;

update billing.source_partition s
set first_offset = s.next_offset - s.gap_count - coalesce((
  select sum(o.records) from billing.outcome_count o where o.topic = s.topic and o.partition = s.partition), 0);
