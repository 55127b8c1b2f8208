"""Bringing the schema to this version: plain SQL files, forward only, each in a transaction, checked by hash.

Safe when several processes migrate at once: they take turns by an advisory lock that is polled, because
waiting for one inside PostgreSQL would hold a snapshot and deadlock with `create index concurrently`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
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
)"""


class Migration(NamedTuple):
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The hash that a database remembers it by."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


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


async def _applied(connection: asyncpg.Connection, schema: Schema) -> dict[int, str]:
    history = f"{schema.name}.schema_migration"
    if await connection.fetchval("select to_regclass($1)", history) is None:
        return {}
    return dict(await connection.fetch(f"select version, sha256 from {history}"))


def _missing(schema: Schema, applied: dict[int, str]) -> list[Migration]:
    known = migrations(schema)
    for migration in known:
        if applied.get(migration.version, migration.sha256) != migration.sha256:
            raise MigrationError(
                f"{migration.name} was changed after it was applied: write a new migration instead"
            )
    if unknown := sorted(applied.keys() - {migration.version for migration in known}):
        raise MigrationError(f"the database is newer than this program: it has migration {unknown[-1]:04d}")
    return [migration for migration in known if migration.version not in applied]


async def _apply(connection: asyncpg.Connection, schema: Schema, migration: Migration) -> None:
    with connecting(f"PostgreSQL ({migration.name})"):
        await _run(connection, schema, migration)


async def _run(connection: asyncpg.Connection, schema: Schema, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            f"insert into {schema.name}.schema_migration (version, name, sha256) values ($1, $2, $3)",
            *(migration.version, migration.name, migration.sha256),
        )
