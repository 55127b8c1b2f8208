"""What aiokafka does in a worker: membership, positions, fetches ahead of need.

Its habits that matter are kept (aiokafka 0.14, consumer/fetcher.py and subscription_state.py): an assignment
is an object of its own and new after every rebalance; fetching begins at the group's committed offsets as
soon as there is one; what was fetched is handed over unless its assignment has ended or its position moved;
during a rebalance a waiting call goes on waiting for the next assignment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple, Protocol

from sinks.ledger import SourcePartition
from tests.simulation.kafka import Broker, LogRecord

FETCH_WAIT_SECONDS = 0.5


class Link(Protocol):
    """The way from a worker to the broker."""

    async def travel(self) -> None:
        """Take a request or an answer to the other side: some time, or as long as the link is cut."""
        ...


class PartitionState:
    """Where the consumer is in one partition of an assignment."""

    def __init__(self) -> None:
        self.highwater: int | None = None
        self.lso: int | None = None
        self.timestamp: int | None = None
        self.at: int | None = None

    @property
    def has_valid_position(self) -> bool:
        return self.at is not None

    @property
    def position(self) -> int:
        assert self.at is not None
        return self.at


class Assignment:
    """The partitions of one generation."""

    def __init__(self, sources: tuple[SourcePartition, ...]) -> None:
        self.tps = sources
        self.active = True
        self._states = {source: PartitionState() for source in sources}

    def state_value(self, tp: SourcePartition) -> PartitionState:
        return self._states[tp]


class Fetched(NamedTuple):
    """What a fetch brought and nobody has taken yet."""

    assignment: Assignment
    start: int
    end: int
    records: list[LogRecord]


class OutOfRange(Exception):
    """The position is not in the log, or there is none."""


class Consumer:
    """A consumer without a group: it is told its assignments."""

    def __init__(self, broker: Broker, link: Link, dice: Random, now_ms: Clock) -> None:
        self.assignment: Assignment | None = None
        self.reassigning = True
        self._broker = broker
        self._link = link
        self._dice = dice
        self._now_ms = now_ms
        self._buffer: dict[SourcePartition, Fetched | OutOfRange] = {}
        self._most_offsets = dice.choice((2, 6, 30))
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._assigned = asyncio.Event()
        self._fetching: asyncio.Task[None] | None = None

    def begin_reassignment(self) -> None:
        """A rebalance has begun."""
        self.reassigning = True

    def assign(self, sources: tuple[SourcePartition, ...]) -> None:
        """A rebalance has ended; fetching begins at once, whoever has claimed what."""
        if self.assignment and self._fetching:
            self.assignment.active = False
            self._fetching.cancel()
        self._buffer.clear()
        self.assignment = Assignment(sources)
        self.reassigning = False
        self._assigned.set()
        self._assigned = asyncio.Event()
        self._fetching = asyncio.create_task(self._fetch_ahead(self.assignment))

    def seek(self, source: SourcePartition, offset: int) -> None:
        """Read on from there."""
        assert self.assignment is not None
        self.assignment.state_value(source).at = offset
        self._buffer.pop(source, None)
        self._room.set()

    async def fetched(self, timeout: float) -> dict[SourcePartition, Sequence[Sequence[LogRecord]]]:
        """Hand over what was fetched, as soon as there is some; {} after the timeout."""
        waited = False
        while True:
            while self.reassigning:
                await self._assigned.wait()
            taken = self._take_all()
            if taken or waited:
                return taken
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                waited = True

    def _take_all(self) -> dict[SourcePartition, Sequence[Sequence[LogRecord]]]:
        taken: dict[SourcePartition, Sequence[Sequence[LogRecord]]] = {}
        for source, found in list(self._buffer.items()):
            if isinstance(found, OutOfRange):
                if taken:
                    break
                del self._buffer[source]
                raise found
            del self._buffer[source]
            state = found.assignment.state_value(source)
            if found.assignment.active and state.at == found.start:
                state.at = found.end
                if found.records:
                    taken[source] = [found.records]
        self._room.set()
        return taken

    async def _fetch_ahead(self, assignment: Assignment) -> None:
        await self._reset_positions(assignment)
        while assignment.active:
            wanted = {
                source: assignment.state_value(source).position
                for source in assignment.tps
                if source not in self._buffer and assignment.state_value(source).has_valid_position
            }
            if not wanted:
                self._room.clear()
                await self._room.wait()
                continue
            await self._link.travel()
            await self._wait_for_news(wanted)
            answer = {source: self._read(source, offset) for source, offset in wanted.items()}
            await self._link.travel()
            self._take_in(assignment, wanted, answer)

    async def _reset_positions(self, assignment: Assignment) -> None:
        """Start where the group has committed, unless somebody has sought a position meanwhile."""
        await self._link.travel()
        committed = dict(self._broker.group.committed)
        await self._link.travel()
        for source in assignment.tps:
            state = assignment.state_value(source)
            if not state.has_valid_position and source in committed:
                state.at = committed[source]
            elif not state.has_valid_position:
                self._buffer[source] = OutOfRange(f"no offset is committed for {source}")
                self._news.set()

    async def _wait_for_news(self, wanted: Mapping[SourcePartition, int]) -> None:
        """The broker answers at once if there is something, else when there is, or after a while."""
        logs = self._broker.logs
        if all(logs[source].stable_end == offset for source, offset in wanted.items()):
            try:
                async with asyncio.timeout(FETCH_WAIT_SECONDS):
                    await self._broker.appended.wait()
            except TimeoutError:
                pass

    def _read(self, source: SourcePartition, offset: int) -> tuple[list[LogRecord], int, int, int] | None:
        log = self._broker.logs[source]
        if offset > log.end:
            return None
        return *log.read(offset, self._dice.randint(1, self._most_offsets)), log.end, log.stable_end

    def _take_in(
        self,
        assignment: Assignment,
        wanted: Mapping[SourcePartition, int],
        answer: Mapping[SourcePartition, tuple[list[LogRecord], int, int, int] | None],
    ) -> None:
        if not assignment.active:
            return
        for source, start in wanted.items():
            state, found = assignment.state_value(source), answer[source]
            if state.at != start:
                continue
            if found is None:
                self._buffer[source] = OutOfRange(f"{source} ends before {start}")
                self._news.set()
                continue
            records, end, state.highwater, state.lso = found
            state.timestamp = self._now_ms()
            if end > start:
                self._buffer[source] = Fetched(assignment, start, end, records)
                self._news.set()


class Clock(Protocol):
    """The wall clock in ms since 1970 UTC."""

    def __call__(self) -> int: ...
