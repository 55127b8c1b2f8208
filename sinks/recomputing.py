"""Asking workers to bill conversations anew, and how far they are: an operator's, under the operator's login.

Requests are rows that workers of that algorithm or a newer one remove in the checkpoint that met them; who
asked, when and why stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from asyncpg.pgproto.pgproto import UUID as DriverUUID

from sinks.connecting import connect_as_login, connecting
from sinks.statements import statement


class Recomputation(NamedTuple):
    """Who had so many conversations billed anew by which algorithm, when and why."""

    number: int
    algorithm: int
    conversations: int
    actor: str
    why: str
    requested_at: datetime


class Recomputations:
    """The requests to bill anew and their audit. Every method may raise `Unreachable` and `Refused`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def request(self, keys: Sequence[bytes], algorithm: int, actor: str, why: str) -> None:
        """Ask for these conversations, all or none, and remember it."""
        with connecting():
            async with self._connection.transaction():
                uuids = list(map(DriverUUID, keys))
                await self._connection.execute(statement("recompute_request"), uuids, algorithm)
                remembered = (algorithm, len(keys), actor, why)
                await self._connection.execute(statement("recompute_remember"), *remembered)

    async def waiting(self) -> dict[int, int]:
        """How many conversations wait, by the algorithm that they wait for."""
        return dict(await self._fetch("recompute_waiting"))

    async def audit(self) -> list[Recomputation]:
        """All that was asked for, the first one first."""
        return [Recomputation(*row) for row in await self._fetch("recompute_audit")]

    async def _fetch(self, name: str) -> list[Any]:
        with connecting():
            rows: list[asyncpg.Record] = await self._connection.fetch(statement(name))
        return rows


@asynccontextmanager
async def open_recomputations(dsn: str) -> AsyncIterator[Recomputations]:
    """The requests and their audit. Raises `Unreachable` and `Refused`."""
    connection = await connect_as_login(dsn)
    try:
        yield Recomputations(connection)
    finally:
        await connection.close()
