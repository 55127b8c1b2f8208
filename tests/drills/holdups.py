"""How long workers wait for one another's locks in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from tests.drills.watch import session

POLL_SECONDS = 0.05

LONGEST_WAIT = """
select coalesce(max(extract(epoch from clock_timestamp() - waitstart)), 0)::float8
from pg_locks join pg_stat_activity using (pid)
where not granted and datname = current_database() and application_name = 'quarterhour-worker'
"""


@dataclass
class HoldUp:
    """The longest wait for a lock that was seen."""

    seconds: float = 0.0


@asynccontextmanager
async def watching_locks(dsn: str) -> AsyncIterator[HoldUp]:
    """Look in this block for workers that wait for a lock."""
    found = HoldUp()
    async with session(dsn) as connection:
        looking = asyncio.create_task(_look(connection, found))
        try:
            yield found
        finally:
            looking.cancel()
            await asyncio.wait([looking])


async def _look(connection: asyncpg.Connection, found: HoldUp) -> None:
    while True:
        found.seconds = max(found.seconds, await connection.fetchval(LONGEST_WAIT))
        await asyncio.sleep(POLL_SECONDS)
