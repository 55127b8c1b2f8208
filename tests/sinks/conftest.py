"""Fixtures of ledger tests: an open ledger on a fresh database, a look inside, logins with chosen rights."""

from __future__ import annotations

import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from quarterhour.parts import Parts
from sinks.postgres import PostgresLedger
from tests.sinks.inspecting import PostgresInspect

ALGORITHM = 7

NewLogin = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    opened = await PostgresLedger.open(database, algorithm=ALGORITHM)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def inspect(database: str) -> AsyncIterator[PostgresInspect]:
    connection = await asyncpg.connect(database)
    yield PostgresInspect(connection)
    await connection.close()


@pytest_asyncio.fixture
async def new_login(parts: Parts) -> AsyncIterator[NewLogin]:
    """`await new_login(dsn, "in role quarterhour_worker")`: the DSN for a new login with these options."""
    connection = await asyncpg.connect(parts.postgres.dsn("postgres"))
    names: list[str] = []

    async def create(dsn: str, options: str = "") -> str:
        name = f"login_{uuid.uuid4().hex[:12]}"
        await connection.execute(f"create role {name} login password '{name}' {options}")
        names.append(name)
        parts_of_dsn = urlsplit(dsn)
        address = parts_of_dsn.netloc.rpartition("@")[2]
        return urlunsplit(parts_of_dsn._replace(netloc=f"{name}:{name}@{address}"))

    yield create
    for name in names:
        await connection.execute(f"drop role {name}")
    await connection.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
