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
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import asyncpg

from quarterhour.comparing import compare
from quarterhour.parts import Parts
from schemas.topics import Topic
from sinks.views import read_session_records
from tests.bench.events import Events
from tests.bench.processes import (
    RUN_LIMIT_SECONDS,
    START_LIMIT_SECONDS,
    Contestant,
    Interval,
    Usage,
    started,
)
from tests.drills.stand import fresh_database
from tests.drills.watch import session

POLL_SECONDS = 0.02
TOPICS = (Topic.CONVERSATION, Topic.AGENT_HANDOFF, Topic.ALERT_DELIVERY)

Positions = dict[tuple[str, int], int]
Meddle = Callable[[str], Awaitable[None]]
"""What a test does to a ledger, given its DSN, before it is compared."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One timed run: what it used and how many of its records are wrong (None: it makes none)."""

    events: int
    interval: Interval
    wrong: int | None = None
    faults: tuple[str, ...] = ()


class Crash(NamedTuple):
    """One run with a kill: how much of its result stood in PostgreSQL then, and what is wrong at the end."""

    saved: float
    wrong: int
    faults: tuple[str, ...] = ()


class Contender(ABC):
    """A program that reads the events."""

    name: ClassVar[str]
    most_events: ClassVar[int | None] = None
    """Of those that take minutes for what others do in seconds."""
    cpu_before: ClassVar[float | None] = None
    """CPU seconds per million events in an earlier, separate measurement."""

    @classmethod  # noqa: B027
    def install(cls, home: Path) -> None:
        """Get what it needs, once, into this folder; raises PartMissing if that cannot be got."""

    def __init__(self, parts: Parts, events: Events, folder: Path, home: Path) -> None:
        self._parts = parts
        self.events = events
        self._folder = folder
        self._home = home

    @abstractmethod
    async def run(self) -> Outcome:
        """Run it once, timed, with a consumer group and a database that are new."""

    def prepare(self) -> None:  # noqa: B027
        """Work out the truth it is compared with, before anything is timed."""

    async def crash(self, after_seconds: float) -> Crash | None:
        """Kill it so long after its first record and start it again; None if it keeps nothing."""
        return None

    @property
    def _topics(self) -> list[str]:
        return [self.events.topics[role] for role in TOPICS]


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
        async with fresh_database(self._parts) as dsn, session(dsn) as connection:
            async with self._worker(self._environment(dsn)) as process:
                first = await _saved(process, connection, bool, START_LIMIT_SECONDS)
                end = await _saved(process, connection, self.events.ends.__eq__, RUN_LIMIT_SECONDS)
                await process.ended()
            if self.meddle:
                await self.meddle(dsn)
            wrong, faults = await self._compare(dsn)
        return Outcome(self.events.count, Interval(process.spawned_at, first, end), wrong, faults)

    async def crash(self, after_seconds: float) -> Crash:
        """Kill its worker, start another, then compare the ledger with the reference model."""
        async with fresh_database(self._parts) as dsn, session(dsn) as connection:
            environment = self._environment(dsn)
            async with self._worker(environment) as process:
                await _saved(process, connection, bool, START_LIMIT_SECONDS)
                await process.kill(after_seconds)
            read = sum((await _positions(connection)).values())
            async with self._worker(environment) as process:
                await _saved(process, connection, self.events.ends.__eq__, RUN_LIMIT_SECONDS)
                await process.ended()
            return Crash(read / self.events.count, *await self._compare(dsn))

    def _worker(self, environment: Mapping[str, str]) -> AbstractAsyncContextManager[Contestant]:
        return started("quarterhour", [*_PRODUCT, "worker", "--until-drained"], self._folder, environment)

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
                "QUARTERHOUR_GROUP": unique(),
            }
        )

    async def _compare(self, dsn: str) -> tuple[int, tuple[str, ...]]:
        """The number of wrong records, and what is to be said of them and of the outcomes."""
        found = [record async for record in read_session_records(dsn)]
        records = compare(found, self.events.records)
        wrong = len(records.only_left) + len(records.only_right) + len(records.differing)
        faults = [] if records.equal else [records.report("ledger", "reference")]
        outcomes = await _outcomes(dsn)
        if outcomes != self.events.outcomes:
            faults.append(f"outcomes: ledger {dict(outcomes)}, reference {dict(self.events.outcomes)}")
        return wrong, tuple(faults)


_PRODUCT = (sys.executable, "-m", "quarterhour")


def unique() -> str:
    """A name that nothing else has."""
    return f"bench-{uuid.uuid4().hex[:12]}"


async def reached(process: Contestant, holds: Callable[[], Awaitable[bool]], limit_seconds: float) -> Usage:
    """Wait until this holds and return what the process has used; raises `BenchFailed` if it ends before."""
    try:
        async with asyncio.timeout(limit_seconds):
            while not await holds():
                process.usage()
                await asyncio.sleep(POLL_SECONDS)
            return process.usage()
    except TimeoutError:
        raise process.failed(f"did not get there within {limit_seconds:.0f} s") from None


async def _saved(
    process: Contestant,
    connection: asyncpg.Connection,
    is_so: Callable[[Positions], bool],
    limit_seconds: float,
) -> Usage:
    """Wait until this holds of the ledger's positions."""

    async def holds() -> bool:
        return is_so(await _positions(connection))

    return await reached(process, holds, limit_seconds)


async def _positions(connection: asyncpg.Connection) -> Positions:
    rows = await connection.fetch("select topic, partition, next_offset from billing.source_partition")
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


async def _outcomes(dsn: str) -> Counter[str]:
    query = "select outcome, sum(records)::bigint from billing.outcome_count group by outcome"
    async with session(dsn) as connection:
        return Counter(dict(await connection.fetch(query)))
