"""The contenders: how each is started, when its timed run begins and ends, whether its result is right."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import asyncpg

from quarterhour.comparing import compare
from quarterhour.parts import Parts
from quarterhour.parts.topics import delete_topics
from schemas.topics import Topic
from sinks.migrate import migrate
from sinks.views import read_session_records
from tests.bench.events import Events, SimpleSession
from tests.bench.processes import (
    RUN_LIMIT_SECONDS,
    START_LIMIT_SECONDS,
    Contestant,
    Interval,
    Usage,
    started,
)

PEERS = Path(__file__).parent / "peers"
POLL_SECONDS = 0.02
TOPICS = (Topic.CONVERSATION, Topic.AGENT_HANDOFF, Topic.ALERT_DELIVERY)

Meddle = Callable[[str], Awaitable[None]]
"""What a test does to a ledger, given its DSN, before it is compared."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One timed run: what it used and how many of its records are wrong (None: it makes none)."""

    events: int
    interval: Interval
    wrong: int | None = None
    faults: tuple[str, ...] = ()


class Contender(ABC):
    """A program that reads the events."""

    name: ClassVar[str]

    def __init__(self, parts: Parts, events: Events, folder: Path) -> None:
        self._parts = parts
        self.events = events
        self._folder = folder

    @abstractmethod
    async def run(self) -> Outcome:
        """Run it once, timed, with a consumer group and a database that are new."""

    def prepare(self) -> None:  # noqa: B027
        """Work out the truth it is compared with, before anything is timed."""

    @property
    def _topics(self) -> list[str]:
        return [self.events.topics[role] for role in TOPICS]

    async def _run_peer(self, name: str, *arguments: str) -> Interval:
        command = [sys.executable, str(PEERS / f"{name}.py"), self._parts.kafka.brokers, *arguments]
        async with started(name, command, self._folder, os.environ) as process:
            first = await process.hear("first", START_LIMIT_SECONDS)
            return Interval(process.spawned_at, first, await process.hear("done", RUN_LIMIT_SECONDS))


class Loop(Contender):
    """A bare loop that only validates: the floor of Python."""

    name = "bare loop, validates only"

    async def run(self) -> Outcome:
        """Run it once."""
        count = self.events.count
        return Outcome(count, await self._run_peer("loop", _unique(), str(count), *self._topics))


class StockFaust(Contender):
    """A stock Faust agent at a simpler form of the job."""

    name = "stock Faust, no dedup"

    def prepare(self) -> None:
        """Work out the sessions of its rule."""
        _ = self.events.simple_sessions

    async def run(self) -> Outcome:
        """Run it once, then compare its sessions with those of its rule."""
        count, app_id = self.events.count, _unique()
        with _database(self._parts) as dsn:
            interval = await self._run_peer("stock_faust", app_id, str(count), dsn, *self._topics)
            await delete_topics(self._parts.kafka.brokers, [f"{app_id}-__assignor-__leader"])
            found = await _simple_sessions(dsn)
        wrong = {session[:2] for session in found ^ self.events.simple_sessions}
        return Outcome(count, interval, len(wrong))


class Quarterhour(Contender):
    """The product, with shipped defaults and all its guarantees."""

    name = "Quarterhour"
    meddle: Meddle | None = None

    def prepare(self) -> None:
        """Work out what the reference model makes of the events."""
        _ = self.events.records, self.events.outcomes

    def shipped_defaults(self) -> dict[str, str]:
        """The settings that its worker runs with and that nobody set."""
        command = [*_PRODUCT, "settings", "--format", "ndjson"]
        environment = self._environment("postgresql://unused/unused")
        done = subprocess.run(command, capture_output=True, cwd=self._folder, env=environment, check=True)
        rows = map(json.loads, done.stdout.splitlines())
        return {row["name"]: row["value"] for row in rows if row["origin"] == "default" and row["value"]}

    async def run(self) -> Outcome:
        """Run it once, then compare its ledger with the reference model."""
        with _database(self._parts) as dsn:
            await migrate(dsn)
            command = [*_PRODUCT, "worker", "--until-drained"]
            async with started("quarterhour", command, self._folder, self._environment(dsn)) as process:
                interval = await self._follow(process, dsn)
                await process.ended()
            if self.meddle:
                await self.meddle(dsn)
            return await self._compare(interval, dsn)

    def _environment(self, dsn: str) -> dict[str, str]:
        """Where its parts are, and none of the settings of whoever runs the bench."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("QUARTERHOUR_")}
        topics = {f"QUARTERHOUR_TOPIC_{role.name}": topic for role, topic in self.events.topics.items()}
        return (
            own
            | topics
            | {
                "QUARTERHOUR_KAFKA_BROKERS": self._parts.kafka.brokers,
                "QUARTERHOUR_POSTGRES_DSN": dsn,
                "QUARTERHOUR_GROUP": _unique(),
            }
        )

    async def _follow(self, process: Contestant, dsn: str) -> Interval:
        connection = await asyncpg.connect(dsn)
        try:
            first = await self._poll(process, connection, self._is_claimed, START_LIMIT_SECONDS)
            end = await self._poll(process, connection, self._is_read, RUN_LIMIT_SECONDS)
        finally:
            await connection.close()
        return Interval(process.spawned_at, first, end)

    async def _poll(
        self,
        process: Contestant,
        connection: asyncpg.Connection,
        is_so: Callable[[dict[tuple[str, int], int]], bool],
        limit_seconds: float,
    ) -> Usage:
        """Wait until this holds of the ledger's positions."""
        try:
            async with asyncio.timeout(limit_seconds):
                while True:
                    rows = await connection.fetch(_POSITIONS)
                    if is_so({(row["topic"], row["partition"]): row["next_offset"] for row in rows}):
                        return process.usage()
                    process.usage()  # raises if it has ended
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise process.failed(f"did not get there within {limit_seconds:.0f} s") from None

    def _is_claimed(self, positions: dict[tuple[str, int], int]) -> bool:
        return bool(positions)

    def _is_read(self, positions: dict[tuple[str, int], int]) -> bool:
        return positions == self.events.ends

    async def _compare(self, interval: Interval, dsn: str) -> Outcome:
        found = [record async for record in read_session_records(dsn)]
        records = compare(found, self.events.records)
        wrong = len(records.only_left) + len(records.only_right) + len(records.differing)
        faults = [] if records.equal else [records.report("ledger", "reference")]
        outcomes = await _outcomes(dsn)
        if outcomes != self.events.outcomes:
            faults.append(f"outcomes: ledger {dict(outcomes)}, reference {dict(self.events.outcomes)}")
        return Outcome(self.events.count, interval, wrong, tuple(faults))


CONTENDERS: dict[str, type[Contender]] = {
    "loop": Loop,
    "stock-faust": StockFaust,
    "quarterhour": Quarterhour,
}
_PRODUCT = (sys.executable, "-m", "quarterhour")
_POSITIONS = "select topic, partition, next_offset from billing.source_partition"


@contextmanager
def _database(parts: Parts) -> Iterator[str]:
    """The DSN of a new, empty database, which is dropped at the end."""
    name = _unique()
    parts.postgres.create_database(name)
    try:
        yield parts.postgres.dsn(name)
    finally:
        parts.postgres.query(f'drop database "{name}" with (force)', "postgres")


async def _simple_sessions(dsn: str) -> set[SimpleSession]:
    columns = ", ".join(SimpleSession._fields)
    return {
        SimpleSession(*row) for row in await _fetch(dsn, f"select {columns} from session where messages > 0")
    }


async def _outcomes(dsn: str) -> Counter[str]:
    query = "select outcome, sum(records)::bigint from billing.outcome_count group by outcome"
    return Counter(dict(await _fetch(dsn, query)))


async def _fetch(dsn: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def _unique() -> str:
    return f"bench-{uuid.uuid4().hex[:12]}"
