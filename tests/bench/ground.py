"""What growth, memory and freshness are measured on: real workers, with topics and a database of their own.

Workers run with shipped defaults: only addresses, the names of the topics and the group are set. What they
and the parts use is read from /proc.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from quarterhour.parts import Parts
from quarterhour.parts.topics import PARTITIONS
from schemas.topics import Topic
from tests.bench.feeding import feeding, held_back
from tests.bench.processes import LOG_LINES, BenchFailed
from tests.bench.synthetic import Message
from tests.drills.stand import fresh_database, fresh_topics
from tests.drills.watch import Watch, session

POLL_SECONDS = 0.02
LIMIT_SECONDS = 900.0
WORKER_CPU, POSTGRES_CPU, KAFKA_CPU = (
    f"{part}_cpu_seconds_per_million" for part in ("worker", "postgres", "kafka")
)
SOURCES = sum(PARTITIONS.values())
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Worker:
    """A `quarterhour worker` process."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        self._log = folder / f"{name}.log"
        self._port = _free_port()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "quarterhour", "worker"),
                env={**environment, "QUARTERHOUR_WEB_PORT": str(self._port)},
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise `BenchFailed` if it has ended."""
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise BenchFailed("\n".join([f"{self._log.stem} has ended; the end of its log:", *lines]))

    def conversations(self) -> int:
        """How many conversations it says it holds in memory."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=30) as page:
            found = re.search(r"^quarterhour_conversations_in_memory (\S+)$", page.read().decode(), re.M)
        assert found
        return int(float(found[1]))

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()


class Usage(NamedTuple):
    """When it was, and the user and system seconds so far of all workers, PostgreSQL and Kafka."""

    at: float
    workers: float
    postgres: float
    kafka: float


class Cost(NamedTuple):
    """What so many events took, from the moment they could be read until the last of them was saved."""

    events: int
    seconds: float
    worker_seconds: float
    postgres_seconds: float
    kafka_seconds: float

    @classmethod
    def between(cls, events: int, before: Usage, after: Usage) -> Cost:
        """The difference."""
        return cls(events, *(late - early for early, late in zip(before, after, strict=True)))

    @classmethod
    def total(cls, costs: Iterable[Cost]) -> Cost:
        """The sum."""
        return cls(*map(sum, zip(*costs, strict=True)))

    def without(self, idle: Cost) -> Cost:
        """The same less what would have been used in that time without any event."""
        share = self.seconds / idle.seconds
        used = (mine - share * at_rest for mine, at_rest in zip(self[2:], idle[2:], strict=True))
        return Cost(self.events, self.seconds, *used)

    def figures(self) -> dict[str, float]:
        """For a result file: seconds of CPU for a million events, and events a second."""
        millions = self.events / 1e6
        return {
            "events": self.events,
            "seconds": round(self.seconds, 2),
            "events_per_second": round(self.events / self.seconds),
            WORKER_CPU: round(self.worker_seconds / millions, 3),
            POSTGRES_CPU: round(self.postgres_seconds / millions, 3),
            KAFKA_CPU: round(self.kafka_seconds / millions, 3),
        }


@dataclass
class Ground:
    """What one measurement stands on."""

    parts: Parts
    dsn: str
    topics: dict[Topic, str]
    folder: Path
    watch: Watch
    workers: list[Worker] = field(default_factory=list)

    @property
    def topic(self) -> str:
        """The one of conversations."""
        return self.topics[Topic.CONVERSATION]

    async def publish(self, messages: Iterable[Message]) -> None:
        """Publish messages that can be read at once."""
        async with feeding(self.parts.kafka.brokers, self.topic) as feed:
            await feed.send(messages)

    async def start(self, workers: int = 1) -> Usage:
        """Start workers and wait until each has its claim; what was used by then."""
        await self.watch.look()
        before = set(self.watch.owners.values())
        self._launch(workers)

        def claimed() -> bool:
            owners = self.watch.owners
            now = set(owners.values())
            return len(owners) == SOURCES and len(now) == workers and now.isdisjoint(before)

        await self._until(claimed, "all is claimed")
        return self.usage()

    async def saved(self) -> Usage:
        """Wait until all that Kafka holds now is saved; what was used by then."""
        ends = await self.watch.ends()
        await self._until(lambda: self.watch.has_saved(ends), "all is saved")
        return self.usage()

    async def time(self, messages: Iterable[Message]) -> Cost:
        """Publish messages while workers wait, then let them read; what that cost."""
        async with held_back(self.parts.kafka.brokers, self.topic, messages) as events:
            ends = await self.watch.ends()
            before = self.usage()
        await self._until(lambda: self.watch.has_saved(ends), "all is saved")
        return Cost.between(events, before, self.usage())

    async def settled(self) -> None:
        """Wait until every record is final and every conversation settled."""
        deadline = time.monotonic() + LIMIT_SECONDS
        async with session(self.dsn) as connection:
            while await connection.fetchval(_UNSETTLED):
                self._check(deadline, "all has settled")
                await asyncio.sleep(POLL_SECONDS)

    async def query(self, sql: str, *arguments: Any) -> Any:
        """The one value that a query gives."""
        async with session(self.dsn) as connection:
            return await connection.fetchval(sql, *arguments)

    def usage(self) -> Usage:
        """What has been used by now."""
        workers = sum(cpu_seconds(worker.pid) for worker in self.workers)
        postgres, kafka = self.parts.postgres.pid, self.parts.kafka.pid
        assert postgres and kafka
        return Usage(time.monotonic(), workers, _family_seconds(postgres), cpu_seconds(kafka))

    def kill_workers(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def _launch(self, workers: int) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("QUARTERHOUR_")}
        environment = own | {
            "QUARTERHOUR_KAFKA_BROKERS": self.parts.kafka.brokers,
            "QUARTERHOUR_POSTGRES_DSN": self.dsn,
            "QUARTERHOUR_GROUP": f"bench-{uuid.uuid4().hex[:12]}",
            **{f"QUARTERHOUR_TOPIC_{role.name}": topic for role, topic in self.topics.items()},
        }
        for number in range(workers):
            self.workers.append(Worker(f"worker-{number}", environment, self.folder))

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT_SECONDS
        await self.watch.look()
        while not holds():
            self._check(deadline, what)
            await asyncio.sleep(POLL_SECONDS)
            await self.watch.look()

    def _check(self, deadline: float, what: str) -> None:
        for worker in self.workers:
            worker.check()
        if time.monotonic() > deadline:
            raise BenchFailed(f"not within {LIMIT_SECONDS:.0f} s: {what}")


@asynccontextmanager
async def on_ground(parts: Parts) -> AsyncIterator[Ground]:
    """Fresh topics and a fresh database; all of it and the workers end with this block."""
    async with fresh_topics(parts.kafka.brokers) as topics, fresh_database(parts) as dsn:
        with TemporaryDirectory(prefix="quarterhour-bench-") as folder:
            watch = Watch(dsn, parts.kafka.brokers, list(topics.values()))
            ground = Ground(parts, dsn, topics, Path(folder), watch)
            try:
                yield ground
            finally:
                ground.kill_workers()


def cpu_seconds(pid: int, children: bool = False) -> float:
    """User and system seconds of all threads of a process; with those of the children it has waited for."""
    # The second field is the program's name in brackets and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / _TICKS_A_SECOND


def _family_seconds(pid: int) -> float:
    """Those of a server and all its children, dead or alive."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid, children=True) + sum(cpu_seconds(int(child)) for child in children)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_UNSETTLED = """
select exists (select from billing.session_record where status = 'open')
    or exists (select from billing.conversation where not settled)
"""
