"""Connections to PostgreSQL: as which role, within which time limits, and which errors mean "unreachable"."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any

import asyncpg

from sinks.ledger import Refused, Unreachable


class Role(StrEnum):
    """The roles of migrations 0002 and 0008; a connection takes on one whatever its login may do."""

    WORKER = "quarterhour_worker"
    READER = "quarterhour_reader"
    AGGREGATOR = "quarterhour_aggregator"
    OPERATOR = "quarterhour_operator"


# Milliseconds. A worker frozen in mid-transaction must hold nobody up, and a call must end. One that froze
# between two messages of a statement is not idle to PostgreSQL, nor can that statement be cancelled: only
# the last limit ends it.
WORKER_LIMITS_MS = {
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "10000",
    "statement_timeout": "30000",
    "transaction_timeout": "40000",
}

# An operator's transaction may work for long, but it too must not hold workers up while it does nothing.
_OPERATOR_LIMITS_MS = {
    name: WORKER_LIMITS_MS[name] for name in ("idle_in_transaction_session_timeout", "lock_timeout")
}

# The driver's own patience with one call, in seconds: a half-open connection never answers.
CALL_TIMEOUT_SECONDS = 40.0
CONNECT_TIMEOUT_SECONDS = 10.0

# The server or the way to it is gone or going, it has no place for us right now, or it lacks what it needs
# to serve us: disk, memory, files. A write that failed for another reason than a full disk (a quota, a limit
# on file sizes) is an internal error to PostgreSQL; a bug of the server's is one too and ends our patience.
_UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.InternalClientError,  # the driver's own confusion when a session ends between two of its calls
)

# Kinds of those that no other try mends.
_LASTING = (asyncpg.ClientConfigurationError, asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Raise `Unreachable` for the errors that another try may not meet."""
    try:
        yield
    except _LASTING:
        raise
    except _UNREACHABLE as error:
        raise Unreachable(f"{what}: {type(error).__name__}: {error}") from error


@contextmanager
def connecting(what: str = "PostgreSQL") -> Iterator[None]:
    """Raise `Unreachable`, or `Refused` if the database lets us in no further."""
    try:
        with reaching(what):
            yield
    except (asyncpg.PostgresError, asyncpg.ClientConfigurationError) as error:
        raise Refused(f"{what} refuses: {error}") from error


async def create_pool(
    dsn: str,
    role: Role,
    *,
    size: int,
    prepare: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
) -> asyncpg.Pool:
    """A pool whose connections act as `role` and were prepared. Raises `Unreachable` and `Refused`."""
    with connecting():
        return await asyncpg.create_pool(dsn, min_size=1, max_size=size, init=prepare, **_options(role))


async def connect(dsn: str, role: Role) -> asyncpg.Connection:
    """One connection that acts as `role`. Raises `Unreachable` and `Refused`."""
    with connecting():
        return await asyncpg.connect(dsn, **_options(role))


async def connect_as_login(dsn: str) -> asyncpg.Connection:
    """One connection with all the rights of its login, an operator's. Raises `Unreachable` and `Refused`."""
    settings = {"application_name": "quarterhour-operator", **_OPERATOR_LIMITS_MS}
    with connecting():
        return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=settings)


@asynccontextmanager
async def acting_as_login(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One transaction with all the rights of its login, an operator's. Raises `Unreachable`, `Refused`."""
    connection = await connect_as_login(dsn)
    try:
        with connecting():
            async with connection.transaction():
                yield connection
    finally:
        await connection.close()


def _options(role: Role) -> dict[str, Any]:
    limits = WORKER_LIMITS_MS if role is Role.WORKER else {}
    return {
        "timeout": CONNECT_TIMEOUT_SECONDS,
        "command_timeout": CALL_TIMEOUT_SECONDS,
        # By default the driver forgets a statement after five minutes and has it parsed again.
        "max_cached_statement_lifetime": 0,
        "server_settings": {
            "role": role.value,
            "application_name": f"quarterhour-{role.name.lower()}",
            **limits,
        },
    }
