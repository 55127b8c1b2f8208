"""What a drill sees from outside: the ledger's positions and owners, open transactions, and Kafka's ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from quarterhour.parts.topics import end_offsets
from tests.streams.stage import until

POLL_SECONDS = 0.03
ENDS_LIMIT_SECONDS = 120.0

AWAY = (
    *(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError),
    asyncpg.InternalClientError,  # the driver's own confusion when its session ends
)
"""Errors of a ledger that is away or was just now."""

Place = tuple[str, int]

POSITIONS = "select topic, partition, next_offset, owner::text from billing.source_partition"
OPEN_TRANSACTIONS = """
select client_port from pg_stat_activity
where application_name = 'quarterhour-worker' and datname = current_database()
  and xact_start is not null and backend_xid is not null
"""


class Watch:
    """Follows the ledger as closely as it can; while the ledger is away it keeps what it saw last."""

    def __init__(self, dsn: str, brokers: str, topics: list[str]) -> None:
        self._dsn = dsn
        self._brokers = brokers
        self._topics = topics
        self._connection: asyncpg.Connection | None = None
        self._looking = asyncio.Lock()
        self.saved: dict[Place, int] = {}
        self.owners: dict[Place, str] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            with suppress(*AWAY):
                await self.look()
            await asyncio.sleep(POLL_SECONDS)

    async def look(self) -> None:
        """Read positions and owners once."""
        async with self._looking:
            rows = await (await self._connected()).fetch(POSITIONS)
        self.saved = {(topic, partition): offset for topic, partition, offset, _ in rows}
        self.owners = {(topic, partition): owner for topic, partition, _, owner in rows}

    async def open_transactions(self) -> set[int]:
        """The client ports of the workers' connections that are in a transaction that has written."""
        async with session(self._dsn, timeout=5) as connection:
            return {port for (port,) in await connection.fetch(OPEN_TRANSACTIONS)}

    async def ends(self) -> Mapping[Place, int]:
        """Where Kafka's log of each source partition ends; waits until Kafka answers."""

        async def answered() -> Mapping[Place, int] | None:
            with suppress(KafkaError, OSError):
                return await end_offsets(self._brokers, self._topics)
            return None

        return await until(answered, "Kafka answers", ENDS_LIMIT_SECONDS)

    def has_saved(self, ends: Mapping[Place, int]) -> bool:
        """Whether all up to these ends is saved."""
        return all(self.saved.get(place, 0) >= end for place, end in ends.items())

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
        return self._connection


@asynccontextmanager
async def session(dsn: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
    """A connection to PostgreSQL for the length of this block; the options are those of `asyncpg.connect`."""
    connection = await asyncpg.connect(dsn, **options)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[Watch]:
    """The watch looks in this block."""
    looking = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        looking.cancel()


def local_ports(pid: int) -> set[int]:
    """The local TCP ports of a process's connections."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}
