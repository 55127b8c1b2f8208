"""Bringing the schema to this version: plain SQL files, forward only, each in a transaction, checked by hash.

Safe when several processes migrate at once: they take turns by an advisory lock that is polled, because
waiting for one inside PostgreSQL would hold a snapshot and deadlock with `create index concurrently`.

A migration whose first line is `-- serves programs that know 0011` leaves programs whose newest migration is
0011 or later able to go on, so that they run beside newer ones while those take their place one by one. Any
other serves only programs that have it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.abc import Traversable
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from sinks.connecting import CONNECT_TIMEOUT_SECONDS, connecting
from sinks.ledger import Refused

_LOCK = 7421
_HISTORY = """
create schema if not exists {schema};
create table if not exists {schema}.schema_migration (
  version    integer     primary key,
  name       text        not null,
  sha256     text        not null,
  applied_at timestamptz not null default now()
);
alter table {schema}.schema_migration add column if not exists serves_from integer"""
# Databases that were last migrated by an older program do not have the column yet.
_APPLIED = """
select version, sha256, (to_jsonb(m) ->> 'serves_from')::integer as serves_from
from {schema}.schema_migration m order by version"""
_SERVES = re.compile(r"-- serves programs that know ([0-9]{4})\n")


class Migration(NamedTuple):
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The hash that a database remembers it by."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def serves_from(self) -> int | None:
        """The oldest migration of programs that can go on once this one is applied; None: only its own."""
        found = _SERVES.match(self.sql)
        return int(found[1]) if found else None


class Applied(NamedTuple):
    """A migration as a database remembers it."""

    version: int
    sha256: str
    serves_from: int | None


class Schema(NamedTuple):
    """A schema of the database and the folder of its migrations."""

    name: str
    folder: Traversable


LEDGER = Schema("billing", files("sinks") / "migrations")


class MigrationError(Refused):
    """Database and files disagree: a file was changed after it was applied, or the database is newer."""


def migrations(schema: Schema = LEDGER) -> list[Migration]:
    """All of them, in order."""
    found = (path for path in schema.folder.iterdir() if path.name.endswith(".sql"))
    return sorted(Migration(int(path.name[:4]), path.name, path.read_text("utf-8")) for path in found)


async def pending(dsn: str, schema: Schema = LEDGER) -> list[Migration]:
    """The migrations this database lacks. Raises `Unreachable` and `Refused`."""
    async with _connected(dsn) as connection:
        return _missing(schema, await _applied(connection, schema))


async def require_current(dsn: str, schema: Schema = LEDGER) -> None:
    """Raise `Refused` if the database lacks a migration, and `Unreachable`."""
    if missing := await pending(dsn, schema):
        raise Refused(f"the database lacks migration {missing[0].name}: run `quarterhour migrate`")


async def migrate(dsn: str, schema: Schema = LEDGER) -> list[Migration]:
    """Apply what is missing and return it. Raises `Unreachable` and `Refused`."""
    async with _connected(dsn) as connection:
        await _take_turn(connection)
        await connection.execute(_HISTORY.format(schema=schema.name))
        missing = _missing(schema, await _applied(connection, schema))
        for migration in missing:
            await _apply(connection, schema, migration)
        return missing


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    with connecting():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()


async def _take_turn(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):
        await asyncio.sleep(0.05)


async def _applied(connection: asyncpg.Connection, schema: Schema) -> list[Applied]:
    if await connection.fetchval("select to_regclass($1)", f"{schema.name}.schema_migration") is None:
        return []
    return [Applied(*row) for row in await connection.fetch(_APPLIED.format(schema=schema.name))]


def _missing(schema: Schema, applied: Sequence[Applied]) -> list[Migration]:
    known = migrations(schema)
    hashes = {it.version: it.sha256 for it in applied}
    for migration in known:
        if hashes.get(migration.version, migration.sha256) != migration.sha256:
            raise MigrationError(
                f"{migration.name} was changed after it was applied: write a new migration instead"
            )
    versions = {migration.version for migration in known}
    _check_newer([it for it in applied if it.version not in versions], max(versions))
    return [migration for migration in known if migration.version not in hashes]


def _check_newer(unknown: Sequence[Applied], newest: int) -> None:
    for it in unknown:
        if it.serves_from is None or it.serves_from > newest:
            raise MigrationError(
                f"the database is newer than this program: it has migration {it.version:04d},"
                f" which does not serve programs whose newest is {newest:04d}"
            )


async def _apply(connection: asyncpg.Connection, schema: Schema, migration: Migration) -> None:
    with connecting(f"PostgreSQL ({migration.name})"):
        await _run(connection, schema, migration)


async def _run(connection: asyncpg.Connection, schema: Schema, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            f"insert into {schema.name}.schema_migration (version, name, sha256, serves_from)"
            " values ($1, $2, $3, $4)",
            *(migration.version, migration.name, migration.sha256, migration.serves_from),
        )
