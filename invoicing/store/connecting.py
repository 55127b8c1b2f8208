"""Connections as the aggregator's role, transactions on them, and what the driver's errors mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import asyncpg

from invoicing.errors import Conflict, InvoicingError, StoreUnreachable
from invoicing.model import Span

Connection: TypeAlias = asyncpg.Connection
Row: TypeAlias = asyncpg.Record

ROLE = "quarterhour_aggregator"
CONNECT_SECONDS = 10.0
CALL_SECONDS = 120.0
_LIMITS_MS = {"idle_in_transaction_session_timeout": "60000", "lock_timeout": "60000"}

# Polled, not waited for: a wait inside the server would be a statement without end.
_RUN_LOCK = 7422
_TURN_SECONDS = 0.1

# PostgreSQL's timestamps are microseconds since 2000.
_EPOCH_2000_MS = 946_684_800_000

# Classes of SQLSTATE that another try may not meet (connections, resources, locks, operators), and what the
# driver says when there is no server to answer.
_PASSING = ("08", "53", "55", "57")
_NO_ANSWER = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Of a unique or an exclusion constraint, or of what was issued and stays.
_CONTRADICTIONS = ("23505", "23P01", "23001")
_UNDEFINED_TABLE = "42P01"


@cache
def statement(name: str) -> str:
    """The statement in `sql/NAME.sql`."""
    return files("invoicing").joinpath("sql", f"{name}.sql").read_text("utf-8")


@contextmanager
def _explained() -> Iterator[None]:
    """Raise the driver's errors as ours: `StoreUnreachable`, `Conflict`, or a refusal."""
    try:
        yield
    except _NO_ANSWER as error:
        raise StoreUnreachable(f"PostgreSQL: {type(error).__name__}: {error}") from error
    except asyncpg.PostgresError as error:
        raise _meaning(error) from error


def _meaning(error: asyncpg.PostgresError) -> InvoicingError:
    if error.sqlstate[:2] in _PASSING:
        return StoreUnreachable(f"PostgreSQL: {error}")
    if error.sqlstate in _CONTRADICTIONS:
        return Conflict(str(error))
    if error.sqlstate == _UNDEFINED_TABLE:
        return InvoicingError(f"{error}: run `quarterhour migrate`", "schema_missing")
    return InvoicingError(f"PostgreSQL refuses: {error}", "store_refuses")


class Store:
    """A pool of connections as the aggregator's role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, dsn: str, size: int = 2) -> Store:
        """Connect. Raises `StoreUnreachable` and `InvoicingError`."""
        with _explained():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=size,
                init=_prepare,
                reset=_leave_as_it_is,
                timeout=CONNECT_SECONDS,
                command_timeout=CALL_SECONDS,
                server_settings={"role": ROLE, "application_name": "quarterhour-invoices", **_LIMITS_MS},
            )
        return cls(pool)

    async def close(self) -> None:
        """Close all connections, at once."""
        self._pool.terminate()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Wait until no other run goes on, then keep others waiting: the server knows when we are gone."""
        with _explained():
            async with self._pool.acquire() as connection:
                while not await connection.fetchval("select pg_try_advisory_lock($1)", _RUN_LOCK):
                    await asyncio.sleep(_TURN_SECONDS)
                try:
                    yield
                finally:
                    await connection.fetchval("select pg_advisory_unlock($1)", _RUN_LOCK)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction: committed at the end, or nothing of it is done. Raises `InvoicingError`."""
        with _explained():
            async with self._pool.acquire() as connection, connection.transaction():
                yield connection


async def fetch(connection: Connection, name: str, *arguments: Any) -> Sequence[Row]:
    """The rows of a named statement."""
    rows: Sequence[Row] = await connection.fetch(statement(name), *arguments)
    return rows


async def fetch_row(connection: Connection, name: str, *arguments: Any) -> Row | None:
    """The first row of a named statement."""
    return await connection.fetchrow(statement(name), *arguments)


async def fetch_value(connection: Connection, name: str, *arguments: Any) -> Any:
    """The first value of a named statement's first row, or None."""
    return await connection.fetchval(statement(name), *arguments)


async def execute(connection: Connection, name: str, *arguments: Any) -> None:
    """Run a named statement for what it does."""
    await connection.execute(statement(name), *arguments)


def span_of(row: Row) -> Span:
    """The time from `from_at` to `to_at` of a row."""
    return Span(row["from_at"], row["to_at"])


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """Between two transactions nothing is to be taken back: none sets anything for its session."""


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode_ms, decoder=_decode_ms, format="tuple"
    )
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads, format="text"
    )


def _encode_ms(at_ms: int) -> tuple[int]:
    return ((at_ms - _EPOCH_2000_MS) * 1000,)


def _decode_ms(value: tuple[int]) -> int:
    return value[0] // 1000 + _EPOCH_2000_MS
