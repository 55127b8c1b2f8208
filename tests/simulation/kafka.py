"""The broker's side: logs with gaps and open transactions, and a group that rebalances eagerly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from schemas.topics import Topic
from sinks.ledger import SourcePartition

PARTITIONS = 2
SESSION_SECONDS = 3.0
HEARTBEAT_SECONDS = 1.0
REBALANCE_SECONDS = 6.0
SOURCES = tuple(SourcePartition(str(topic), number) for topic in Topic for number in range(PARTITIONS))


class LogRecord(NamedTuple):
    """What the log holds of a record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Log:
    """One source partition; what is in an open transaction is not handed out yet."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.end = 0
        self.stable_end = 0

    def append(self, timestamp: int, key: bytes | None, value: bytes | None) -> int:
        """Append a record to the open transaction; return its offset."""
        self.records.append(LogRecord(self.end, timestamp, key, value))
        self.end += 1
        return self.end - 1

    def commit(self, marker: bool) -> None:
        """End the transaction; its marker takes an offset."""
        self.end += marker
        self.stable_end = self.end

    def abort(self) -> None:
        """End the transaction; its records are nobody's, and their offsets gaps."""
        self.records = [record for record in self.records if record.offset < self.stable_end]
        self.commit(marker=True)

    def read(self, start: int, most: int) -> tuple[list[LogRecord], int]:
        """The records of at most so many offsets from `start` on, and where to read on."""
        end = min(self.stable_end, start + most)
        return [record for record in self.records if start <= record.offset < end], end


class Joined(NamedTuple):
    """A member's part of a generation."""

    generation: int
    sources: tuple[SourcePartition, ...]


@dataclass(slots=True)
class Member:
    """A member of the group, as the coordinator knows it."""

    name: str
    heard_at: float
    sources: tuple[SourcePartition, ...] = ()
    joining: asyncio.Future[Joined] | None = None


class Group:
    """The coordinator. A rebalance takes everything from everyone, and ends once all have joined again."""

    def __init__(self, dice: Random, note: Callable[[str], None]) -> None:
        self.generation = 0
        self.committed: dict[SourcePartition, int] = {}
        self.rebalances = 0
        self.members: dict[str, Member] = {}
        self._joining = False
        self._dice = dice
        self._note = note
        self._context = Context()

    def join(self, name: str, *, static: bool) -> asyncio.Future[Joined]:
        """Become a member, or join again; the answer comes with the next generation.

        A static member that comes back while nobody else is joining gets what it had, and nobody notices.
        """
        loop = asyncio.get_running_loop()
        member = self.members.get(name)
        if member is None:
            member = self.members[name] = Member(name, loop.time())
            self._after(SESSION_SECONDS, self._expire, member)
        answer = member.joining = loop.create_future()
        if static and member.sources and not self._joining:
            self._give(member, member.sources)
            return answer
        self.rebalance()
        self._complete_if_all_joined()
        return answer

    def heartbeat(self, name: str, generation: int) -> str:
        """Stay a member; the answer says whether to join again."""
        member = self.members.get(name)
        if member is None:
            return "unknown"
        member.heard_at = asyncio.get_running_loop().time()
        return "rebalance" if self._joining or generation != self.generation else "stable"

    def leave(self, name: str) -> None:
        """Be no member any more."""
        if self.members.pop(name, None):
            self._note(f"{name} is no member any more")
            self.rebalance()
            self._complete_if_all_joined()

    def rebalance(self) -> None:
        """Have everybody join again."""
        if self.members and not self._joining:
            self._joining = True
            self._note("rebalance begins")
            self._after(REBALANCE_SECONDS, self._give_up_on_missing, self.generation)

    def _after(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(seconds, act, *arguments, context=self._context)

    def _expire(self, member: Member) -> None:
        """Remove a member that was not heard for a session; one that has joined waits for an answer."""
        if self.members.get(member.name) is not member:
            return
        silent_seconds = asyncio.get_running_loop().time() - member.heard_at
        if member.joining is None and silent_seconds >= SESSION_SECONDS:
            self.leave(member.name)
        else:
            self._after(max(SESSION_SECONDS - silent_seconds, 0.1), self._expire, member)

    def _give_up_on_missing(self, generation: int) -> None:
        if self._joining and self.generation == generation:
            for name in [name for name, member in self.members.items() if member.joining is None]:
                self.leave(name)

    def _complete_if_all_joined(self) -> None:
        if self.members and self._joining and all(member.joining for member in self.members.values()):
            self._joining = False
            self.generation += 1
            self.rebalances += 1
            for name, sources in self._assign().items():
                self._give(self.members[name], sources)

    def _give(self, member: Member, sources: tuple[SourcePartition, ...]) -> None:
        self._note(f"generation {self.generation}: {member.name} gets {_named(sources)}")
        if member.joining and not member.joining.done():
            member.joining.set_result(Joined(self.generation, sources))
        member.joining, member.sources = None, sources
        member.heard_at = asyncio.get_running_loop().time()

    def _assign(self) -> Mapping[str, tuple[SourcePartition, ...]]:
        """Deal out partitions so that those of a shard stay together."""
        names = sorted(self.members)
        self._dice.shuffle(names)
        dealt: dict[str, list[SourcePartition]] = {name: [] for name in names}
        for source in SOURCES:
            alerts = source.topic == Topic.ALERT_DELIVERY
            dealt[names[(source.partition + alerts) % len(names)]].append(source)
        return {name: tuple(sources) for name, sources in dealt.items()}


@dataclass(slots=True)
class Broker:
    """The topics, the group, and when something new can be read."""

    group: Group
    logs: dict[SourcePartition, Log] = field(default_factory=lambda: {source: Log() for source in SOURCES})
    appended: asyncio.Event = field(default_factory=asyncio.Event)

    def tell_readers(self) -> None:
        """Answer the fetches that wait for news."""
        self.appended.set()
        self.appended = asyncio.Event()


def _named(sources: tuple[SourcePartition, ...]) -> str:
    return " ".join(f"{source.topic}/{source.partition}" for source in sources) or "nothing"
