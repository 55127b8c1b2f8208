"""Each role may do what it must and nothing else (architecture.md section 7)."""

from __future__ import annotations

import asyncpg
import pytest

from sinks.connecting import Role, connect, create_pool
from sinks.ledger import Refused, SourceTopic
from sinks.postgres import PostgresLedger
from tests.sinks.builders import start_worker

VIEWS = ("session_records", "session_record_changes", "stream_watermark")
GRANTS = {
    Role.WORKER: {
        "source_partition": {"SELECT", "INSERT", "UPDATE"},
        "outcome_count": {"SELECT", "INSERT", "UPDATE"},
        "conversation": {"SELECT", "INSERT", "UPDATE"},
        "session_record": {"SELECT", "INSERT", "UPDATE"},
        "fact_chunk": {"SELECT", "INSERT", "DELETE"},
        "seal": {"SELECT", "INSERT"},
        "recompute_request": {"SELECT", "DELETE"},
        "source_topic": {"SELECT", "INSERT"},
        "alert_report": {"SELECT", "INSERT"},
        "change_counter": {"SELECT", "UPDATE"},
        "dead_letter": {"INSERT"},
        "dead_letter_act": {"SELECT"},
        "rejected_event_position": {"SELECT", "INSERT", "UPDATE"},
        "session_record_change": {"INSERT"},
        "rule_set": {"SELECT"},
        "schema_migration": {"SELECT"},
    },
    Role.OPERATOR: {
        "dead_letters": {"SELECT"},
        "dead_letter_act": {"SELECT", "INSERT"},
        "recomputation": {"SELECT", "INSERT"},
    },
    Role.READER: dict.fromkeys(VIEWS, {"SELECT"}),
    Role.AGGREGATOR: dict.fromkeys(VIEWS, {"SELECT"}),
}
WORKER_LIMITS = {
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
    "statement_timeout": "30000",
    "transaction_timeout": "40000",
}
FORBIDDEN = {
    Role.WORKER: [
        "delete from billing.session_record",
        "truncate billing.session_record",
        "delete from billing.conversation",
        "delete from billing.source_partition",
        "update billing.fact_chunk set facts = ''",
        "update billing.session_record_change set status = 'void'",
        "delete from billing.session_record_change",
        "update billing.dead_letter set reason = ''",
        "delete from billing.dead_letter",
        "select value from billing.dead_letter",
        'insert into billing.dead_letter_act (act, topic, partition, "offset", actor, why)'
        " values ('accept', '', 0, 1, '', '')",
        "update billing.dead_letter_act set why = ''",
        "delete from billing.dead_letter_act",
        "update billing.source_topic set partitions = 1",
        "insert into billing.change_counter values (true, 0)",
        "insert into billing.rule_set values (null, null, 1, 1, 900000, 1)",
        "update billing.rule_set set block_ms = 1",
        "delete from billing.rule_set",
        "update billing.schema_migration set sha256 = ''",
        "create table billing.mine ()",
        "drop view billing.session_records",
        "create schema mine",
    ],
    Role.OPERATOR: [
        "update billing.dead_letter_act set why = ''",
        "delete from billing.dead_letter_act",
        "truncate billing.dead_letter_act",
        "update billing.dead_letter set reason = ''",
        "delete from billing.dead_letter",
        "insert into billing.dead_letter (topic) values ('')",
        "update billing.source_partition set next_offset = 0",
        "select 1 from billing.conversation",
        "select 1 from billing.session_records",
        "create table billing.mine ()",
    ],
    Role.READER: [
        "select 1 from billing.session_record",
        "select 1 from billing.session_record_change",
        "select 1 from billing.conversation",
        "select 1 from billing.dead_letter",
        "update billing.session_records set status = 'void'",
        "delete from billing.session_record_changes",
        "create table billing.mine ()",
    ],
}
FORBIDDEN[Role.AGGREGATOR] = FORBIDDEN[Role.READER]


@pytest.fixture
async def login(database, new_login):
    """A login that may act as each of the roles, and is nothing else."""
    return await new_login(database, f"in role {', '.join(Role)}")


@pytest.mark.parametrize("role", Role)
async def test_a_role_has_exactly_these_rights(inspect, role):
    rows = await inspect.connection.fetch(
        "select c.relname, a.privilege_type"
        " from pg_class c, aclexplode(c.relacl) a"
        " where c.relnamespace = 'billing'::regnamespace and a.grantee = $1::regrole",
        role.value,
    )
    found: dict[str, set[str]] = {}
    for table, privilege in rows:
        found.setdefault(table, set()).add(privilege)
    assert found == GRANTS[role]


async def test_nothing_in_the_schema_is_open_to_everybody(inspect):
    open_to_all = await inspect.connection.fetch(
        "select c.relname from pg_class c, aclexplode(c.relacl) a"
        " where c.relnamespace = 'billing'::regnamespace and a.grantee = 0"
        " union all select nspname from pg_namespace, aclexplode(nspacl) a"
        " where nspname = 'billing' and a.grantee = 0"
    )
    assert open_to_all == []


@pytest.mark.parametrize("role", Role)
async def test_a_role_cannot_log_in_or_do_anything_to_the_server(inspect, role):
    row = await inspect.connection.fetchrow(
        "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
        " from pg_roles where rolname = $1",
        role.value,
    )
    assert not any(row.values())


@pytest.mark.parametrize("role", Role)
async def test_a_role_is_refused_what_is_not_its_own(login, role):
    connection = await connect(login, role)
    try:
        assert [sql for sql in FORBIDDEN[role] if not await _is_refused(connection, sql)] == []
    finally:
        await connection.close()


async def _is_refused(connection: asyncpg.Connection, sql: str) -> bool:
    try:
        await connection.execute(sql)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


@pytest.mark.parametrize("role", [Role.READER, Role.AGGREGATOR])
async def test_consumers_can_read_the_views(login, role):
    connection = await connect(login, role)
    try:
        for view in GRANTS[role]:
            rows = await connection.fetch(f"select * from billing.{view}")
            assert not any(value for row in rows for value in row.values())
    finally:
        await connection.close()


async def test_the_whole_work_of_a_worker_is_within_its_rights(login):
    ledger = await PostgresLedger.open(login, algorithm=1)
    try:
        worker = await start_worker(ledger)
        for number in (1, 2):
            assert await ledger.save(worker.full_checkpoint(number))
        await ledger.look_up_alerts([])
        await ledger.look_up_conversations([])
        await ledger.remember_topics({"a": SourceTopic(1, None)})
        await ledger.rule_sets()
        await ledger.outcome_counts()
        await ledger.positions([])
    finally:
        await ledger.close()


async def test_a_pooled_connection_acts_as_its_role_within_its_limits_each_time_it_is_taken(login):
    pool = await create_pool(login, Role.WORKER, size=1)
    try:
        for _ in range(2):
            async with pool.acquire() as connection:
                assert await connection.fetchval("select current_user") == Role.WORKER
                limits = await connection.fetch(
                    "select name, setting from pg_settings where name = any($1)", list(WORKER_LIMITS)
                )
                assert dict(limits) == WORKER_LIMITS
                await connection.execute("set lock_timeout = 0; set statement_timeout = 0")
    finally:
        pool.terminate()


async def test_no_login_is_more_than_its_role(database):
    """Not even that of the schema's owner."""
    connection = await connect(database, Role.WORKER)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("delete from billing.session_record")
    finally:
        await connection.close()


@pytest.mark.parametrize("role", Role)
async def test_a_login_that_is_not_a_member_is_refused_with_the_name_of_the_role(database, new_login, role):
    stranger = await new_login(database)
    with pytest.raises(Refused, match=f'permission denied to set role "{role}"'):
        await connect(stranger, role)
    with pytest.raises(Refused, match=f'permission denied to set role "{role}"'):
        await create_pool(stranger, role, size=1)
