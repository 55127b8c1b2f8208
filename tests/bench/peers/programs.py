"""The peers as contenders: programs of this folder that all do the same simpler job.

Each is told its task in one JSON object (task.py), prints `first` at its first records and `done` when its
last row is committed. Its table of sessions is compared with those of the simpler rule, duplicates counted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple

from quarterhour.parts.topics import administration, delete_topics
from tests.bench.contenders import Contender, Crash, Outcome, Quarterhour, reached, unique
from tests.bench.events import SimpleSession
from tests.bench.peers.installed import HERE, class_path_of, python_of
from tests.bench.processes import (
    RUN_LIMIT_SECONDS,
    START_LIMIT_SECONDS,
    Contestant,
    Interval,
    started,
)
from tests.drills.stand import empty_database
from tests.drills.watch import session

RESTART_LIMIT_SECONDS = 180.0
TABLE = """
create table session (
  conversation text, opened_ms bigint, started_ms bigint, ended_ms bigint, messages int, blocks int,
  primary key (conversation, opened_ms)
)"""
MADE_TOPICS = ("__assignor-__leader", "sessions-changelog")
"""What Faust and Kafka Streams create, after the name of their group."""


class Place(NamedTuple):
    """Where a peer runs: its database and consumer group, and the command that starts it there each time."""

    dsn: str
    group: str
    command: list[str]


class Peer(Contender):
    """A program of this folder."""

    program: ClassVar[str]
    keeps_sessions: ClassVar[bool] = True
    survives: ClassVar[bool] = True
    """Whether it is killed too."""
    ends: ClassVar[bool] = False
    """Whether it says `done` after a restart too: it knows the ends of the topics."""

    @classmethod
    def install(cls, home: Path) -> None:
        """Make what its command needs."""
        cls.command(home)

    @classmethod
    def command(cls, home: Path) -> Sequence[str]:
        """What starts it, but for its task."""
        return sys.executable, str(HERE / f"{cls.program}.py")

    def prepare(self) -> None:
        """Work out the sessions of the simpler rule."""
        if self.keeps_sessions:
            _ = self.events.simple_sessions

    async def run(self) -> Outcome:
        """Run it once, then compare its sessions, if it keeps any."""
        async with self._place() as place, self._process(place) as process:
            first = await process.hear("first", START_LIMIT_SECONDS)
            interval = Interval(process.spawned_at, first, await process.hear("done", RUN_LIMIT_SECONDS))
            wrong = self._wrong(await _sessions(place.dsn)) if self.keeps_sessions else None
        return Outcome(self.events.count, interval, wrong)

    async def crash(self, after_seconds: float) -> Crash | None:
        """Kill it, start it again and wait until it has read all."""
        if not (self.keeps_sessions and self.survives):
            return None
        async with self._place() as place:
            async with self._process(place) as process:
                await process.hear("first", START_LIMIT_SECONDS)
                await process.kill(after_seconds)
            saved = sum(session.messages for session in await _sessions(place.dsn))
            async with self._process(place) as process:
                await process.hear("first", RESTART_LIMIT_SECONDS)
                if self.ends:
                    await process.hear("done", RUN_LIMIT_SECONDS)
                else:
                    await self._committed(process, place.group)
            found = await _sessions(place.dsn)
        expected = sum(session.messages for session in self.events.simple_sessions)
        return Crash(saved / expected, self._wrong(found))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[Place]:
        group, brokers = unique(), self._parts.kafka.brokers
        folder = self._folder / group
        folder.mkdir()
        with empty_database(self._parts) as dsn:
            async with session(dsn) as connection:
                await connection.execute(TABLE)
            task = {
                "brokers": brokers,
                "group": group,
                "events": self.events.count,
                "dsn": dsn,
                "folder": str(folder),
                "topics": self._topics,
            }
            yield Place(dsn, group, [*self.command(self._home), json.dumps(task)])
        await delete_topics(brokers, [f"{group}-{topic}" for topic in MADE_TOPICS])

    @asynccontextmanager
    async def _process(self, place: Place) -> AsyncIterator[Contestant]:
        async with started(self.program, place.command, self._folder, os.environ) as process:
            yield process

    async def _committed(self, process: Contestant, group: str) -> None:
        """Wait until its group has committed the ends of the topics: its rows are written by then."""
        async with administration(self._parts.kafka.brokers) as admin:

            async def holds() -> bool:
                offsets = await admin.list_consumer_group_offsets(group)
                found = {(place.topic, place.partition): at.offset for place, at in offsets.items()}
                return all(found.get(place, 0) >= end for place, end in self.events.ends.items())

            await reached(process, holds, RUN_LIMIT_SECONDS)

    def _wrong(self, found: set[SimpleSession]) -> int:
        return len({session[:2] for session in found ^ self.events.simple_sessions})


async def _sessions(dsn: str) -> set[SimpleSession]:
    columns = ", ".join(SimpleSession._fields)
    async with session(dsn) as connection:
        rows = await connection.fetch(f"select {columns} from session where messages > 0")
    return {SimpleSession(*row) for row in rows}


class Loop(Peer):
    """The floor of what validates."""

    name = "Python loop: fetch, validate"
    program = "loop"
    keeps_sessions = False


class PackagedPeer(Peer):
    """One written in Python with packages of its own."""

    requirements: ClassVar[str]

    @classmethod
    def command(cls, home: Path) -> Sequence[str]:
        """Its own interpreter runs it."""
        return str(python_of(cls.requirements, home)), str(HERE / f"{cls.program}.py")


class Fold(PackagedPeer):
    """The floor of Python."""

    name = "Python loop: fetch, parse, fold"
    program = requirements = "fold"
    keeps_sessions = False


class StockFaust(Peer):
    """Faust without its Table."""

    name = "stock Faust, lean"
    program = "stock_faust"
    most_events = 200_000
    cpu_before = 71.0


class FaustTable(Peer):
    """Faust as its documentation shows it."""

    name = "stock Faust, Table"
    program = "faust_table"
    # After a kill it did not read on within three minutes.
    survives = False
    most_events = 50_000
    cpu_before = 230.0


class Bytewax(PackagedPeer):
    """Bytewax with its recovery store."""

    name = "Bytewax, recovery store"
    program = "bytewax_sessions"
    requirements = "bytewax"
    ends = True
    cpu_before = 25.0


class JavaPeer(Peer):
    """One written in Java."""

    module: ClassVar[str]
    flags: ClassVar[tuple[str, ...]] = ("-Xmx2g",)

    @classmethod
    def command(cls, home: Path) -> Sequence[str]:
        """Java on the PATH runs it."""
        log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        path = class_path_of(cls.module, home)
        return "java", *cls.flags, log, "-cp", path, f"quarterhour.peers.{cls.program}"


class JavaLoop(JavaPeer):
    """The floor of Java."""

    name = "Java loop: consumer, HashMap, JDBC"
    module, program = "kafka", "JavaLoop"
    survives = False
    cpu_before = 5.3


class KafkaStreams(JavaPeer):
    """Session windows of the DSL."""

    name = "Kafka Streams, at_least_once"
    module, program = "kafka", "KafkaStreamsPeer"
    flags = (*JavaPeer.flags, "-Dguarantee=at_least_once")
    cpu_before = 26.0


class KafkaStreamsTransactions(KafkaStreams):
    """The same within Kafka's transactions."""

    name = "Kafka Streams, exactly_once_v2"
    flags = (*JavaPeer.flags, "-Dguarantee=exactly_once_v2")


class Flink(JavaPeer):
    """Session windows with state on heap."""

    name = "Flink, heap"
    module, program = "flink", "FlinkPeer"
    ends = True
    flags = (
        "-Xmx3g",
        *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "time")),
    )
    cpu_before = 10.5


QUICK: dict[str, type[Contender]] = {
    "loop": Loop,
    "fold": Fold,
    "stock-faust": StockFaust,
    "quarterhour": Quarterhour,
}
CONTENDERS: dict[str, type[Contender]] = QUICK | {
    "java-loop": JavaLoop,
    "flink": Flink,
    "kafka-streams": KafkaStreams,
    "kafka-streams-transactions": KafkaStreamsTransactions,
    "bytewax": Bytewax,
    "faust-table": FaustTable,
}
