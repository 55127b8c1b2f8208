-- Least privilege: roles that cannot log in; a login becomes one of them (`grant quarterhour_worker to app_login`).
-- Roles belong to the whole cluster, so another database of it may have made them, perhaps at this very moment.
do $$
declare
  role_name text;
begin
  foreach role_name in array array['quarterhour_worker', 'quarterhour_reader', 'quarterhour_aggregator'] loop
    if not exists (select from pg_roles where rolname = role_name) then -- so who may not create roles may still migrate
      begin
        execute format('create role %I nologin', role_name);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
  end loop;
end $$;

grant usage on schema billing to quarterhour_worker, quarterhour_reader, quarterhour_aggregator;

-- The stream worker: adds and updates; deletes only chunks, which it replaces by their sum. It cannot touch the rules.
grant select, insert, update on billing.source_partition, billing.outcome_count, billing.conversation, billing.session_record
  to quarterhour_worker;
grant select, insert, delete on billing.fact_chunk to quarterhour_worker;
grant select, insert on billing.source_topic, billing.alert_report to quarterhour_worker;
grant insert on billing.dead_letter, billing.session_record_change to quarterhour_worker;
grant select, update on billing.change_counter to quarterhour_worker;
grant select on billing.rule_set, billing.schema_migration to quarterhour_worker;

-- Consumers and the aggregator: the contract views, nothing else.
grant select on billing.session_records, billing.session_record_changes to quarterhour_reader, quarterhour_aggregator;

-- Rows on their way into the ledger rest in temporary tables of the worker's connections.
do $$
begin
  execute format('grant temporary on database %I to quarterhour_worker', current_database());
end $$;
