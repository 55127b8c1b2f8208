"""Migrations: each once, in order, all or nothing, whoever runs them and however many at once."""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import urlsplit

import asyncpg
import pytest

from quarterhour.database import SCHEMAS
from sinks.ledger import Refused, Unreachable
from sinks.migrate import LEDGER, Migration, MigrationError, migrate, migrations, pending
from sinks.postgres import PostgresLedger
from tests.sinks.builders import settled, start_worker

NAMES = [migration.name for migration in migrations()]
ALL_NAMES = [migration.name for schema in SCHEMAS for migration in migrations(schema)]
REFUSE_GRANTS = """
create function refuse() returns event_trigger language plpgsql as $$ begin raise 'no grants here'; end $$;
create event trigger refuse_grants on ddl_command_start when tag in ('GRANT') execute function refuse()"""

SETTLING = NAMES.index("0009_settle_by_session.sql")
RECORDS_BEFORE_SETTLING = """
insert into billing.session_record
  (session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at,
   ended_at, status, revision, algorithm, shard, settles_at_ms)
select lpad(number::text, 32, '0')::uuid, 'usage', 'acme', 'sales', 'u-1', 'web', 'c-' || subject, now(),
       block, now(), now(), status, 5, 1, 0, settles_at_ms
from (values (1, 1, 1, 'open', 1000), (2, 1, 2, 'open', 1000), (3, 2, 1, 'open', 2000),
             (4, 3, 1, 'final', 500), (5, 4, 1, 'void', 500)
     ) as r(number, subject, block, status, settles_at_ms)"""


@pytest.fixture
async def connection(empty_database):
    opened = await asyncpg.connect(empty_database)
    yield opened
    await opened.close()


async def test_an_empty_database_lacks_all_migrations_and_is_only_looked_at(empty_database, connection):
    assert _names(await pending(empty_database)) == NAMES
    assert await _tables(connection) == []


async def test_an_empty_database_gets_all_migrations_in_order(empty_database, connection):
    assert _names(await migrate(empty_database)) == NAMES
    assert await _history(connection) == [(number, name) for number, name in enumerate(NAMES, 1)]
    assert await pending(empty_database) == []


async def test_migrating_again_does_nothing(empty_database, connection):
    await migrate(empty_database)
    before = await connection.fetch("select * from billing.schema_migration")
    assert await migrate(empty_database) == []
    assert await connection.fetch("select * from billing.schema_migration") == before


async def test_of_six_that_migrate_at_once_one_applies_each_migration(empty_database, connection):
    applied = await asyncio.gather(*(migrate(empty_database) for _ in range(6)))
    assert sorted(name for found in applied for name in _names(found)) == NAMES
    assert len(await _history(connection)) == len(NAMES)


async def test_of_three_processes_that_migrate_at_once_one_applies_each_migration(empty_database, connection):
    answers = await asyncio.gather(*(_run_command(empty_database) for _ in range(3)))
    assert [status for status, _, _ in answers] == [0, 0, 0]
    lines = "".join(output for _, output, _ in answers).splitlines()
    assert sorted(lines) == sorted(f"applied {name}" for name in ALL_NAMES)
    assert len(await _history(connection)) == len(NAMES)


async def test_a_plan_prints_the_sql_and_changes_nothing(empty_database, connection):
    status, output, _ = await _run_command(empty_database, "--plan")
    assert status == 0
    assert output == "".join(
        f"-- {migration.name}\n{migration.sql}\n" for schema in SCHEMAS for migration in migrations(schema)
    )
    assert await _tables(connection) == []


@pytest.mark.parametrize("ask", [pending, migrate])
async def test_a_file_changed_after_it_was_applied_is_refused_by_name(database, ask):
    await _execute(database, "update billing.schema_migration set sha256 = 'other' where version = 2")
    with pytest.raises(MigrationError, match=f"{NAMES[1]} was changed after it was applied"):
        await ask(database)


@pytest.mark.parametrize("ask", [pending, migrate])
async def test_a_database_newer_than_the_program_is_refused_by_version(database, ask):
    await _execute(database, "insert into billing.schema_migration values (9999, '9999_later.sql', 'x')")
    with pytest.raises(MigrationError, match="newer than this program: it has migration 9999"):
        await ask(database)


def test_a_migration_says_in_its_first_line_which_programs_it_serves():
    serves = "-- serves programs that know 0010\n"
    texts = {f"{serves}select 1": 10, f"select 1;\n{serves}": None, serves.replace("0010", "10"): None}
    for text, served in texts.items():
        assert Migration(9999, "9999_later.sql", text).serves_from == served


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
async def test_a_program_goes_on_with_newer_migrations_that_serve_it(database, monkeypatch, schema):
    newest = migrations(schema)[-1].version
    await _migrate_further(database, monkeypatch, schema, newest, newest - 1)
    assert await pending(database, schema) == []
    assert await migrate(database, schema) == []


async def test_a_program_refuses_a_newer_migration_that_serves_only_later_ones(database, monkeypatch):
    newest = migrations()[-1].version
    await _migrate_further(database, monkeypatch, LEDGER, newest, newest + 1)
    message = f"it has migration {newest + 2:04d}, which does not serve programs whose newest is {newest:04d}"
    for ask in (pending, migrate):
        with pytest.raises(MigrationError, match=message):
            await ask(database)


async def test_a_program_refuses_if_one_of_several_newer_migrations_does_not_serve_it(database, monkeypatch):
    newest = migrations()[-1].version
    await _migrate_further(database, monkeypatch, LEDGER, None, newest)
    with pytest.raises(MigrationError, match=f"it has migration {newest + 1:04d}"):
        await pending(database)


async def test_a_history_without_a_word_on_whom_it_serves_gets_the_column(empty_database, connection):
    await migrate(empty_database)
    await connection.execute("alter table billing.schema_migration drop column serves_from")
    assert await pending(empty_database) == []
    await migrate(empty_database)
    assert await connection.fetch("select from billing.schema_migration where serves_from is not null") == []


async def test_the_command_refuses_with_status_1_and_says_why(database):
    await _execute(database, "update billing.schema_migration set sha256 = 'other' where version = 2")
    status, output, message = await _run_command(database)
    assert (status, output) == (1, "")
    assert f"{NAMES[1]} was changed" in message


async def test_a_migration_that_fails_is_named_and_leaves_nothing_behind(empty_database, connection):
    await connection.execute("create schema billing; create table billing.rule_set (mine integer)")
    with pytest.raises(Refused, match=rf'{NAMES[0]}.* relation "rule_set" already exists'):
        await migrate(empty_database)
    assert await _tables(connection) == ["rule_set", "schema_migration"]
    assert await _history(connection) == []


async def test_a_migration_that_cannot_be_remembered_is_not_made(empty_database, connection):
    await connection.execute(
        "create schema billing; create table billing.schema_migration"
        " (version integer check (version > 1), name text, sha256 text)"
    )
    with pytest.raises(Refused, match=NAMES[0]):
        await migrate(empty_database)
    assert await _tables(connection) == ["schema_migration"]


async def test_one_that_fails_keeps_those_before_it_and_is_made_when_it_can(empty_database, connection):
    await connection.execute(REFUSE_GRANTS)
    with pytest.raises(Refused, match=f"{NAMES[1]}.* no grants here"):
        await migrate(empty_database)
    assert await _history(connection) == [(1, NAMES[0])]
    await connection.execute("drop event trigger refuse_grants")
    assert _names(await pending(empty_database)) == NAMES[1:]
    assert _names(await migrate(empty_database)) == NAMES[1:]


async def test_records_left_open_before_sessions_settled_as_a_whole_become_final_when_they_would_have(
    empty_database, connection, monkeypatch
):
    with monkeypatch.context() as program:
        program.setattr("sinks.migrate.migrations", lambda schema: migrations(schema)[:SETTLING])
        await migrate(empty_database)
    await connection.execute(RECORDS_BEFORE_SETTLING)
    assert _names(await migrate(empty_database)) == NAMES[SETTLING:]
    ledger = await PostgresLedger.open(empty_database, algorithm=1)
    worker = await start_worker(ledger)
    final = [
        (await ledger.save(worker.checkpoint(settled=settled(before_ms)))).total()
        for before_ms in (1_000, 1_001, 2_001, 9_999)
    ]
    await ledger.close()
    assert final == [0, 2, 1, 0]
    rows = await connection.fetch("select status from billing.session_record order by session_id")
    assert [status for (status,) in rows] == ["final"] * 4 + ["void"]


async def test_an_owner_who_may_not_create_roles_can_migrate_once_they_exist(
    migrated_template, empty_database, connection, new_login
):
    owner = await new_login(empty_database)
    user, database = urlsplit(owner).username, urlsplit(owner).path.removeprefix("/")
    await connection.execute(f'grant create on database "{database}" to {user}')
    assert _names(await migrate(owner)) == NAMES
    await connection.execute(f"drop owned by {user} cascade")


@pytest.mark.parametrize("ask", [pending, migrate])
async def test_a_server_that_is_not_there_is_unreachable(closed_port, ask):
    with pytest.raises(Unreachable):
        await ask(f"postgresql://u:p@127.0.0.1:{closed_port}/d")


@pytest.mark.parametrize(
    "wrong",
    [lambda dsn: dsn.replace("@", "x@"), lambda dsn: f"{dsn}x", lambda dsn: f"{dsn}?sslmode=x"],
    ids=["password", "database", "option"],
)
async def test_a_wrong_address_is_refused(empty_database, wrong):
    with pytest.raises(Refused):
        await pending(wrong(empty_database))


async def test_a_server_that_goes_while_others_migrate_is_unreachable(empty_database, connection):
    await connection.execute("select pg_advisory_lock(7421)")
    waiting = asyncio.create_task(migrate(empty_database))
    async with asyncio.timeout(20):
        while not await _end_other_sessions(connection):
            pass
    with pytest.raises(Unreachable):
        await waiting


def _names(found):
    return [migration.name for migration in found]


async def _history(connection):
    rows = await connection.fetch("select version, name from billing.schema_migration order by version")
    return [tuple(row) for row in rows]


async def _tables(connection):
    rows = await connection.fetch("select tablename from pg_tables where schemaname = 'billing' order by 1")
    return [table for (table,) in rows]


async def _migrate_further(dsn, monkeypatch, schema, *serve_from):
    """What a program with further migrations does; each serves programs from that one on, or only its own."""
    later = []
    for number, served in enumerate(serve_from, migrations(schema)[-1].version + 1):
        line = "" if served is None else f"-- serves programs that know {served:04d}\n"
        text = line + f"create table {schema.name}.later_{number} ()"
        later.append(Migration(number, f"{number:04d}_later.sql", text))
    with monkeypatch.context() as program:
        program.setattr("sinks.migrate.migrations", lambda schema: [*migrations(schema), *later])
        assert await migrate(dsn, schema) == later


async def _execute(dsn, sql):
    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()


async def _end_other_sessions(connection):
    """How many were there in this database, having asked for the lock."""
    return await connection.fetchval(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
        " where datname = current_database() and query like '%pg_try_advisory_lock%'"
        " and pid <> pg_backend_pid()"
    )


async def _run_command(dsn, *options):
    """`quarterhour migrate` in a process of its own: status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterhour", "migrate", *options),
        env=os.environ | {"QUARTERHOUR_POSTGRES_DSN": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, message = await process.communicate()
    return process.returncode, output.decode(), message.decode()
