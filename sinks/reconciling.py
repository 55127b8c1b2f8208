"""Reading the whole ledger as of one moment, a batch at a time, to hold it against itself; changes nothing.

Under an operator's own login: no role of the product may read all of it. What can be told by a statement is;
what takes the billing rule is for whoever reads here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from asyncpg.pgproto.pgproto import UUID as DriverUUID

from sinks.connecting import connect_as_login, connecting
from sinks.ledger import Seal, SourcePartition, SourceTopic
from sinks.statements import statement

CONVERSATIONS_AT_ONCE = 4_000
ROWS_AT_ONCE = 10_000
CHANGES_AT_ONCE = 500
"""Of those that were superseded: each needs all facts of its conversation."""
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
# Its snapshot holds no one up, and between two batches bills are computed.
_IDLE_LIMIT = "set local idle_in_transaction_session_timeout = '10min'"

# Statements that look at whole tables, and those that take the filter of a run. Each gives differences.
_OF_ALL = (
    "reconcile_dead_letters",
    "reconcile_checksums",
    "reconcile_clocks",
    "reconcile_orphans",
    "reconcile_seals",
    "reconcile_feed_positions",
)
_OF_SOME = ("reconcile_feed", "reconcile_sealed_records")


class Difference(NamedTuple):
    """Something that is not as it must be; `table` names all that may be at fault."""

    table: str
    key: str
    what: str


class Counted(NamedTuple):
    """What the ledger says of the reading of a source partition; None if only its counts are there."""

    source: SourcePartition
    first_offset: int | None
    next_offset: int | None
    clock_ms: int | None
    gap_count: int | None
    outcomes: Mapping[str, int]


class Chunk(NamedTuple):
    """Facts of a conversation that one checkpoint, or settling, wrote."""

    revision: int
    facts: bytes
    strings: str
    is_unchanged: bool


class HeldConversation(NamedTuple):
    """A conversation with its facts, as the ledger holds it."""

    key: bytes
    names: tuple[str, str, str]
    shard: int
    revision: int
    settles_ms: int
    settled: bool
    record_ids: bytes
    seal_due_ms: int | None
    chunks: Sequence[Chunk]
    seal: Seal | None

    @property
    def sealed_facts(self) -> int:
        """How many of its facts are gone."""
        return self.seal.facts if self.seal else 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are looked at: those of an account, those that start in [from, to)."""

    account_id: str | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything passes."""
        return self == Filter()

    @property
    def arguments(self) -> tuple[str | None, datetime | None, datetime | None]:
        """As the statements take them."""
        return self.account_id, self.from_time, self.to_time

    @property
    def of_conversations(self) -> tuple[str | None, int | None]:
        """The account, and when conversations settle (ms) that have records that are looked at, or later."""
        from_time = self.from_time
        return self.account_id, None if from_time is None else (from_time - _EPOCH) // _MILLISECOND

    def includes(self, started_at: datetime) -> bool:
        """Whether a record that starts then is looked at, if its account is."""
        return (self.from_time is None or started_at >= self.from_time) and (
            self.to_time is None or started_at < self.to_time
        )


class Snapshot:
    """The ledger as of one moment."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def partitions(self) -> list[Counted]:
        """What was read of each source partition, those of topics that are no more included."""
        return [
            Counted(
                SourcePartition(row["topic"], row["partition"]),
                *(row["first_offset"], row["next_offset"], row["clock_ms"], row["gap_count"]),
                json.loads(row["outcomes"] or "{}"),
            )
            for row in await self._fetch("reconcile_partitions")
        ]

    async def topics(self) -> dict[str, SourceTopic]:
        """Every topic ever read."""
        rows = await self._fetch("reconcile_topics")
        return {topic: SourceTopic(partitions, topic_id) for topic, partitions, topic_id in rows}

    async def rule_sets(self) -> list[dict[str, Any]]:
        """All rule sets, as rows of `billing.rule_set`."""
        return [dict(row) for row in await self._fetch("rule_sets")]

    async def differences(
        self, only: Filter, stream_topics: Sequence[str], allowed_lateness_ms: int
    ) -> AsyncIterator[Difference]:
        """All that statements can tell."""
        for name in _OF_ALL if only.is_open else ():
            async for row in self._cursor(name):
                yield Difference(*row)
        for name in _OF_SOME:
            async for row in self._cursor(name, *only.arguments):
                yield Difference(*row)
        filters = (list(stream_topics), allowed_lateness_ms, *only.of_conversations)
        async for row in self._cursor("reconcile_statuses", *filters):
            yield Difference(*row)

    async def conversations(self, only: Filter, most_facts: int) -> AsyncIterator[list[HeldConversation]]:
        """Conversations with their facts: no more than so many facts at once, unless one alone has more."""
        filters = only.of_conversations
        async for rows in self._batches("reconcile_conversations", CONVERSATIONS_AT_ONCE, *filters):
            at = 0
            while at < len(rows):
                end, facts = at + 1, rows[at]["revision"]
                while end < len(rows) and facts + rows[end]["revision"] <= most_facts:
                    facts += rows[end]["revision"]
                    end += 1
                yield await self._with_chunks(rows[at:end])
                at = end

    async def algorithms(self) -> tuple[int, int]:
        """The oldest and the newest version of the rule's code that a record is by; 0 if there is none."""
        ((oldest, newest),) = await self._fetch("recompute_algorithms")
        return oldest, newest

    async def records(self, session_ids: Collection[bytes]) -> dict[bytes, asyncpg.Record]:
        """Those of these records that are there, by id."""
        rows = await self._fetch("reconcile_records", _uuids(session_ids))
        return {row["session_id"].bytes: row for row in rows}

    async def count_usage_records(self, only: Filter) -> tuple[int, int]:
        """How many usage records are not void and have facts, and how many have none any more."""
        ((with_facts, sealed),) = await self._fetch("reconcile_count_records", *only.arguments)
        return with_facts, sealed

    async def usage_records(self, only: Filter) -> AsyncIterator[list[asyncpg.Record]]:
        """The ids and names of usage records that are not void and not sealed."""
        async for rows in self._batches("reconcile_usage_records", ROWS_AT_ONCE, *only.arguments):
            yield rows

    async def record_ids(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """The ids of the records of these conversations, joined."""
        rows = await self._fetch("reconcile_record_ids", _uuids(keys))
        return {row["conversation_key"].bytes: row["record_ids"] for row in rows}

    async def alerts(self, only: Filter) -> AsyncIterator[list[asyncpg.Record]]:
        """Alert records, each with how many further reports it has, and the first of those."""
        async for rows in self._batches("reconcile_alerts", ROWS_AT_ONCE, *only.arguments):
            yield rows

    async def superseded(self, only: Filter) -> AsyncIterator[list[asyncpg.Record]]:
        """What consumers were told of records and then told otherwise."""
        async for rows in self._batches("reconcile_superseded", CHANGES_AT_ONCE, *only.arguments):
            yield rows

    async def chunks(self, keys: Collection[bytes]) -> dict[bytes, list[Chunk]]:
        """The facts of these conversations."""
        found: dict[bytes, list[Chunk]] = {}
        for key, *chunk in await self._fetch("reconcile_chunks", _uuids(keys)):
            found.setdefault(key.bytes, []).append(Chunk(*chunk))
        return found

    async def newest_seals(self, keys: Collection[bytes]) -> dict[bytes, Seal]:
        """Of these conversations those that are sealed."""
        rows = await self._fetch("newest_seals", _uuids(keys))
        return {key.bytes: Seal(*seal) for key, *seal in rows}

    async def reports(self, session_ids: Collection[bytes]) -> dict[bytes, set[tuple[int, str, str]]]:
        """All reports of these alerts."""
        found: dict[bytes, set[tuple[int, str, str]]] = {}
        for session_id, *report in await self._fetch("reconcile_reports", _uuids(session_ids)):
            found.setdefault(session_id.bytes, set()).add((report[0], report[1], report[2]))
        return found

    async def _with_chunks(self, rows: Sequence[asyncpg.Record]) -> list[HeldConversation]:
        keys = [row["conversation_key"].bytes for row in rows]
        chunks, seals = await self.chunks(keys), await self.newest_seals(keys)
        return [
            HeldConversation(
                key,
                (row["account_id"], row["bot_id"], row["conversation_id"]),
                *(row["shard"], row["revision"], row["settles_at_ms"], row["settled"], row["record_ids"]),
                row["seal_due_ms"],
                chunks.get(key, []),
                seals.get(key),
            )
            for key, row in zip(keys, rows, strict=True)
        ]

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._connection.fetch(statement(name), *arguments)
        return rows

    async def _cursor(self, name: str, *arguments: Any) -> AsyncIterator[asyncpg.Record]:
        async for row in self._connection.cursor(statement(name), *arguments, prefetch=ROWS_AT_ONCE):
            yield row

    async def _batches(self, name: str, size: int, *arguments: Any) -> AsyncIterator[list[asyncpg.Record]]:
        cursor = await self._connection.cursor(statement(name), *arguments)
        while rows := await cursor.fetch(size):
            yield rows


@asynccontextmanager
async def snapshot(dsn: str) -> AsyncIterator[Snapshot]:
    """The ledger as of now, however long it is looked at. Raises `Unreachable` and `Refused`."""
    connection = await connect_as_login(dsn)
    try:
        with connecting():
            async with connection.transaction(readonly=True, isolation="repeatable_read"):
                await connection.execute(_IDLE_LIMIT)
                yield Snapshot(connection)
    finally:
        await connection.close()


def _uuids(keys: Iterable[bytes]) -> list[UUID]:
    return [DriverUUID(key) for key in keys]
