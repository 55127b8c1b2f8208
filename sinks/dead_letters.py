"""Dead letters and what operators do about them: reading both, and adding acts, as the operator's role.

That role may add acts and change nothing, neither acts nor dead letters: what became of a dead letter follows
from the acts about it (migration 0008).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import asyncpg

from sinks.connecting import Role, connect, connecting
from sinks.ledger import SourcePartition
from sinks.statements import statement


class State(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    """Nothing yet."""
    REPLAYED = "replayed"
    """Produced again, and not read yet or read as a dead letter again."""
    RESOLVED = "resolved"
    """Produced again, read, and no dead letter any more."""
    DISCARDED = "discarded"
    """Set aside for good, with a reason."""


class LetterId(NamedTuple):
    """Where a dead letter was read. Written as topic/partition/offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Dead letters that match all that is given; the time is the broker's, in [from, to)."""

    reason: str | None = None
    topic: str | None = None
    account_id: str | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None
    state: State | None = None

    def arguments(self) -> tuple[object, ...]:
        """In the order of the statements."""
        times = (self.from_time, self.to_time)
        return self.reason, self.topic, self.account_id, *times, self.state and self.state.value


class Letter(NamedTuple):
    """A dead letter: what was read, why it was refused, and what became of it."""

    id: LetterId
    reason: str
    field: str
    detail: str
    account_id: str | None
    key: bytes | None
    value: bytes | None
    recorded_at: datetime
    created_at: datetime
    replay_of: str | None
    state: State
    again: str | None
    """The dead letter that its latest replay became."""

    @property
    def first(self) -> str:
        """The first one of those that this one was replayed from, or itself."""
        return self.replay_of or str(self.id)


class Act(NamedTuple):
    """What was done about a dead letter; `sent_as` is where Kafka holds what was produced again."""

    id: str
    act: str
    actor: str
    why: str
    change: dict[str, Any]
    acted_at: datetime
    sent_as: str | None


@dataclass(frozen=True, slots=True)
class Hand:
    """Who acts, why, and with which change of fields."""

    actor: str
    why: str
    change: Mapping[str, Any] = field(default_factory=dict)


class DeadLetters:
    """The dead letters of a ledger. Every method may raise `Unreachable` and `Refused`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def ids(self, wanted: Filter) -> list[LetterId]:
        """Of those that match, oldest first."""
        return [LetterId(*row) for row in await self._fetch("dead_letter_ids", *wanted.arguments())]

    async def counts(self, wanted: Filter) -> list[dict[str, Any]]:
        """How many match, by reason and state."""
        return [dict(row) for row in await self._fetch("dead_letter_counts", *wanted.arguments())]

    async def letters(self, ids: Sequence[LetterId]) -> list[Letter]:
        """Those of these that there are, in this order."""
        columns = ([id.topic for id in ids], [id.partition for id in ids], [id.offset for id in ids])
        return [_letter(row) for row in await self._fetch("dead_letters", *columns)]

    async def history(self, letter: LetterId) -> list[Act]:
        """What was done about it, and about those that its replays became."""
        rows = await self._fetch("dead_letter_history", *letter, str(letter))
        return [Act(**{**row, "change": json.loads(row["change"])}) for row in map(dict, rows)]

    async def audit(self) -> list[dict[str, Any]]:
        """Who did what, when and why, about all of them: acts alike together."""
        rows = await self._fetch("dead_letter_audit")
        return [{**row, "change": json.loads(row["change"])} for row in map(dict, rows)]

    async def asked_to_replay(self, letters: Sequence[LetterId], hand: Hand) -> None:
        """Keep that these are about to be produced again."""
        await self._add("replay", letters, [(None, None, None)] * len(letters), hand)

    async def sent(self, sent: Mapping[LetterId, LetterId], hand: Hand) -> None:
        """Keep that these were produced again, and where."""
        await self._add("sent", list(sent), list(sent.values()), hand)

    async def discard(self, letters: Sequence[LetterId], hand: Hand) -> None:
        """Set these aside for good."""
        await self._add("discard", letters, [(None, None, None)] * len(letters), hand)

    async def accept(self, until: Mapping[SourcePartition, int], hand: Hand) -> None:
        """Let no dead letter of these partitions before these offsets count for the limit."""
        places = [LetterId(*source, offset) for source, offset in until.items()]
        await self._add("accept", places, [(None, None, None)] * len(places), hand)

    async def _add(
        self, act: str, places: Sequence[LetterId], sent: Sequence[tuple[object, ...]], hand: Hand
    ) -> None:
        columns = [list(column) for column in zip(*places, strict=True)]
        columns += [list(column) for column in zip(*sent, strict=True)]
        change = json.dumps(hand.change)
        await self._fetch("add_dead_letter_acts", act, *columns, hand.actor, hand.why, change)

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        with connecting(f"PostgreSQL ({name})"):
            rows: list[asyncpg.Record] = await self._connection.fetch(statement(name), *arguments)
            return rows


@asynccontextmanager
async def open_dead_letters(dsn: str) -> AsyncIterator[DeadLetters]:
    """The dead letters of a ledger, as an operator may see them. Raises `Unreachable` and `Refused`."""
    connection = await connect(dsn, Role.OPERATOR)
    try:
        yield DeadLetters(connection)
    finally:
        await connection.close()


def _letter(row: asyncpg.Record) -> Letter:
    found = dict(row)
    id = LetterId(found.pop("topic"), found.pop("partition"), found.pop("offset"))
    return Letter(**{**found, "id": id, "state": State(found["state"])})
