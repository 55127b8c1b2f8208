"""The ledger in PostgreSQL (architecture.md section 2): a checkpoint is one transaction, fenced."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from asyncpg.pgproto.pgproto import UUID as DriverUUID

from sinks.connecting import CALL_TIMEOUT_SECONDS, Role, create_pool, reaching
from sinks.ledger import (
    AlertReport,
    Checkpoint,
    Fenced,
    Horizon,
    LimitCounts,
    NamedConversation,
    OutcomeKey,
    Position,
    RecordChange,
    Rejection,
    Seal,
    SealRow,
    SourcePartition,
    SourceTopic,
    StoredAlert,
    StoredConversation,
    Unreachable,
)
from sinks.statements import statement

T = TypeVar("T")

# A checkpoint after a long rest may find millions of sessions to settle: so many a shard and checkpoint.
SETTLE_LIMIT = 20_000
# Deadlocks and serialization failures cost a transaction, not a worker.
TRANSACTION_TRIES = 5
_RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# The statements of transactions that take arguments or give rows, with arguments on which they do nothing.
_ON_NOTHING: dict[str, tuple[Any, ...]] = {
    "fence": ([], [], [], [], [], [], [], [], [], UUID(int=0), None),
    "count_rule_sets": (),
    "already_saved": ([], [], [], UUID(int=0)),
    "save_records": (0,),
    "void_records": ([], []),
    "save_alert_reports": ([], [], [], []),
    "save_dead_letters": ([], [], [], [], [], [], [], [], [], [], []),
    "finalise_records": ([], [], 0),
    "settle_conversations": ([], [], 0),
    "count_outcomes": ([], [], [], [], []),
    "recomputed": ([], [], 0),
    "sum_changes": (),
    "count_owned": ([], [], UUID(int=0)),
    "seal": ([], [], [], [], [], []),
    "keep_facts": ([], [], [], []),
    "seal_later": ([], []),
}


class PostgresLedger:
    """A `Ledger`; safe for concurrent calls. Its role may do no more than the ledger needs."""

    def __init__(self, pool: asyncpg.Pool, algorithm: int) -> None:
        self._pool = pool
        self._algorithm = algorithm
        self._rule_sets: int | None = None

    @classmethod
    async def open(cls, dsn: str, *, algorithm: int) -> PostgresLedger:
        """Connect as the worker's role; every record keeps `algorithm`, the version of the rule's code."""
        pool = await create_pool(dsn, Role.WORKER, size=4, prepare=_prepare)
        return cls(pool, algorithm)

    async def close(self) -> None:
        """Close all connections, at once."""
        self._pool.terminate()

    async def claim(
        self, owner: UUID, earliest: Mapping[SourcePartition, int]
    ) -> dict[SourcePartition, Position]:
        """See `Ledger.claim`."""
        sources = sorted(earliest)
        arguments = (*_columns(sources, 2), [earliest[source] for source in sources], owner)
        rows = await self._in_transaction("claim", lambda it: it.fetch(statement("claim"), *arguments))
        return {
            SourcePartition(topic, partition): Position(
                next_offset, clock_ms, LimitCounts(*counts), accepted_offset
            )
            for topic, partition, next_offset, clock_ms, *counts, accepted_offset in rows
        }

    async def look_up_conversations(self, keys: Sequence[bytes]) -> dict[bytes, StoredConversation]:
        """See `Ledger.look_up_conversations`."""
        rows = await self._fetch("look_up_conversations", _uuids(keys))
        return {
            row["conversation_key"].bytes: StoredConversation(
                row["revision"],
                row["settles_at_ms"],
                row["record_ids"],
                row["facts"] or b"",
                row["strings"] or "",
                _seal(row["sealed_through_ms"], row["sealed_facts"], row["begun_ms"]),
            )
            for row in rows
        }

    async def look_up_alerts(self, session_ids: Sequence[bytes]) -> dict[bytes, StoredAlert]:
        """See `Ledger.look_up_alerts`."""
        rows = await self._fetch("look_up_alerts", _uuids(session_ids))
        found: dict[bytes, StoredAlert] = {}
        for row in rows:
            key = row["session_id"].bytes
            first = AlertReport(row["first_ms"], row["first_user_id"], row["first_channel"])
            alert = found.get(key) or StoredAlert(first, row["revision"], ())
            if row["reported_ms"] is not None:
                further = AlertReport(row["reported_ms"], row["user_id"], row["channel"])
                alert = alert._replace(further=(*alert.further, further))
            found[key] = alert
        return found

    async def recompute_requests(self, shards: Sequence[int], most: int) -> list[NamedConversation]:
        """See `Ledger.recompute_requests`."""
        return _named(await self._fetch("recompute_requests", list(shards), most, self._algorithm))

    async def sealed_through_ms(self) -> int:
        """See `Ledger.sealed_through_ms`."""
        ((through_ms,),) = await self._fetch("sealed_through")
        return int(through_ms)

    async def sealable(self, horizons: Sequence[Horizon], most: int) -> list[NamedConversation]:
        """See `Ledger.sealable`."""
        return _named(await self._fetch("sealable", *_columns(horizons, 2), most))

    async def seal(self, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]) -> None:
        """See `Ledger.seal`."""
        await self._in_transaction("seal", lambda it: _seal_all(it, owner, sources, rows))

    async def rule_sets(self) -> list[dict[str, Any]]:
        """All rule sets, as rows of `billing.rule_set`; no checkpoint is saved once there are others."""
        rows = [dict(row) for row in await self._fetch("rule_sets")]
        self._rule_sets = len(rows)
        return rows

    async def remember_topics(self, found: Mapping[str, SourceTopic]) -> dict[str, SourceTopic]:
        """These topics as they were at the first start, which is now for those never seen."""
        await self._fetch("remember_topics", list(found), *_columns(list(found.values()), 2))
        return await self.known_topics(list(found))

    async def known_topics(self, topics: Sequence[str]) -> dict[str, SourceTopic]:
        """Those of these topics that were ever read."""
        rows = await self._fetch("known_topics", list(topics))
        return {row["topic"]: SourceTopic(row["partitions"], row["topic_id"]) for row in rows}

    async def positions(self, topics: Sequence[str]) -> dict[SourcePartition, Position]:
        """How far each source partition of these topics was saved, by whomever."""
        rows = await self._fetch("positions", list(topics))
        return {
            SourcePartition(row["topic"], row["partition"]): Position(row["next_offset"], row["clock_ms"])
            for row in rows
        }

    async def outcome_counts(self) -> dict[OutcomeKey, int]:
        """How many records were read and saved so far, by source partition, outcome and reason."""
        rows = await self._fetch("outcome_counts")
        return {
            OutcomeKey(SourcePartition(topic, partition), outcome, reason): records
            for topic, partition, outcome, reason, records in rows
        }

    async def rejections(self, sources: Collection[SourcePartition], most: int) -> list[Rejection]:
        """Of each of these partitions the oldest dead letters not published yet, at most so many."""
        rows = await self._fetch("rejections", *_columns(list(sources), 2), most)
        return [Rejection(SourcePartition(topic, partition), *rest) for topic, partition, *rest in rows]

    async def rejections_published(self, ends: Mapping[SourcePartition, int]) -> None:
        """Remember that the dead letters of these partitions before these offsets have been published."""
        await self._fetch("rejections_published", *_columns(list(ends), 2), list(ends.values()))

    async def save(self, checkpoint: Checkpoint) -> Counter[RecordChange]:
        """See `Ledger.save`."""
        return await self._in_transaction("save", lambda it: self._save(it, checkpoint))

    async def _save(self, connection: asyncpg.Connection, checkpoint: Checkpoint) -> Counter[RecordChange]:
        await _send(connection, checkpoint)
        if not await _pass_fence(connection, checkpoint, self._rule_sets):
            return Counter()
        await _write(connection, checkpoint, self._algorithm)
        await _settle(connection, checkpoint)
        await _count_outcomes(connection, checkpoint)
        if done := checkpoint.recomputed:
            shards, keys = _columns([conversation[:2] for conversation in done], 2)
            await connection.execute(statement("recomputed"), shards, _uuids(keys), self._algorithm)
        return await _publish(connection)

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._reached(name) as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement(name), *arguments)
            return rows

    async def _in_transaction(self, name: str, work: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        for tries_left in reversed(range(TRANSACTION_TRIES)):
            try:
                async with self._reached(name) as connection, connection.transaction():
                    return await work(connection)
            except _RETRIED:
                if not tries_left:
                    raise
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _reached(self, name: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one call, cut when that and cleaning up after it take too long.

        The driver's own limit holds for a statement, and then for the rollback, and then for the cleaning up.
        """
        try:
            with reaching(f"PostgreSQL ({name})"):
                async with AsyncExitStack() as stack:
                    connection = await self._pool.acquire()
                    loop = asyncio.get_running_loop()
                    stack.callback(loop.call_later(CALL_TIMEOUT_SECONDS, connection.terminate).cancel)
                    stack.push_async_callback(self._pool.release, connection)
                    yield connection
        except Unreachable:
            # What ended this connection may have left the idle ones half-open.
            await self._pool.expire_connections()
            raise


async def _prepare(connection: asyncpg.Connection) -> None:
    """Have the statements of a checkpoint parsed before one begins, by running each on nothing.

    To the server who has had a statement parsed is busy with it until it is run: a worker that froze there
    with locks held would not be idle in its transaction, and keep them for long.
    """
    await connection.execute(statement("incoming"))
    for name, arguments in _ON_NOTHING.items():
        await connection.fetch(statement(name), *arguments)


async def _publish(connection: asyncpg.Connection) -> Counter[RecordChange]:
    """Tell consumers of what changed; return how much did."""
    sums = await connection.fetch(statement("sum_changes"))
    changes = Counter(
        {RecordChange(kind, status, corrected): count for kind, status, corrected, count in sums}
    )
    if any(change.status != "open" for change in changes):
        await connection.execute(statement("publish_changes"))
    return changes


async def _send(connection: asyncpg.Connection, checkpoint: Checkpoint) -> None:
    """Put the rows where only this connection sees them, and nobody waits for a lock.

    Before the fence: while the server reads the data of a COPY none of its time limits holds, so a worker
    frozen there with the fence behind it would keep its partitions locked for as long as it is frozen.
    """
    for table, rows in (
        ("incoming_conversation", checkpoint.conversations),
        ("incoming_fact_chunk", checkpoint.chunks),
        ("incoming_record", checkpoint.records),
    ):
        if rows:
            await connection.copy_records_to_table(table, schema_name="pg_temp", records=rows)


async def _pass_fence(connection: asyncpg.Connection, checkpoint: Checkpoint, rule_sets: int | None) -> bool:
    """Move our partitions and return True, or False if this very checkpoint was saved before.

    Raises `Fenced` if another worker owns or moved one of them, or if there are other rule sets than so many.
    """
    advances = checkpoint.advances
    topics, partitions = _columns([advance.source for advance in advances], 2)
    _, expected, ends, clocks, gaps, counts = _columns(advances, 6)
    moves = topics, partitions, expected, ends, clocks, gaps, *_columns(counts, 3)
    rows = await connection.fetch(statement("fence"), *moves, checkpoint.owner, rule_sets)
    if len(rows) == len(advances):
        return True
    saved = await connection.fetchval(statement("already_saved"), topics, partitions, ends, checkpoint.owner)
    if saved == len(advances):
        return False
    if rule_sets not in (None, await connection.fetchval(statement("count_rule_sets"))):
        raise Fenced("a rule set was added: nothing was saved, and a worker that starts again goes by it")
    raise Fenced(f"not all of {len(advances)} partitions are where and whose they were: nothing was saved")


async def _write(connection: asyncpg.Connection, checkpoint: Checkpoint, algorithm: int) -> None:
    if checkpoint.conversations:
        await connection.execute(statement("save_conversations"))
    if checkpoint.chunks:
        await connection.execute(statement("append_facts"))
    if checkpoint.records:
        await connection.execute(statement("save_records"), algorithm)
    if checkpoint.voids:
        ids, revisions = _columns(checkpoint.voids, 2)
        await connection.execute(statement("void_records"), _uuids(ids), revisions)
    if checkpoint.alert_reports:
        reports = [(DriverUUID(report.session_id), *report[1:]) for report in checkpoint.alert_reports]
        await _execute(connection, "save_alert_reports", reports)
    if checkpoint.dead_letters:
        rows = [(*letter.source, *letter[1:]) for letter in checkpoint.dead_letters]
        await _execute(connection, "save_dead_letters", rows)


async def _settle(connection: asyncpg.Connection, checkpoint: Checkpoint) -> None:
    if checkpoint.settled:
        shards, before = _columns(checkpoint.settled, 2)
        await connection.execute(statement("finalise_records"), shards, before, SETTLE_LIMIT)
        await connection.execute(statement("settle_conversations"), shards, before, SETTLE_LIMIT)


async def _count_outcomes(connection: asyncpg.Connection, checkpoint: Checkpoint) -> None:
    if checkpoint.outcomes:
        rows = [(*key.source, key.outcome, key.reason, count) for key, count in checkpoint.outcomes.items()]
        await _execute(connection, "count_outcomes", rows)


async def _seal_all(
    connection: asyncpg.Connection, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]
) -> None:
    topics, partitions = _columns(sources, 2)
    if await connection.fetchval(statement("count_owned"), topics, partitions, owner) != len(sources):
        raise Fenced(f"not all of {len(sources)} partitions are whose they were: nothing was sealed")
    sealed = [
        (DriverUUID(row.key), *row.seal, row.record_ids, row.due_ms) for row in rows if row.seal is not None
    ]
    if sealed:
        await _execute(connection, "seal", sealed)
    if kept := [(DriverUUID(row.key), row.revision, row.facts, row.strings) for row in rows if row.facts]:
        await _execute(connection, "keep_facts", kept)
    if later := [(DriverUUID(row.key), row.due_ms) for row in rows if row.seal is None]:
        await _execute(connection, "seal_later", later)


async def _execute(connection: asyncpg.Connection, name: str, rows: Sequence[Sequence[Any]]) -> None:
    await connection.execute(statement(name), *_columns(rows, len(rows[0])))


def _seal(through_ms: int | None, facts: int, begun_ms: int) -> Seal | None:
    return None if through_ms is None else Seal(through_ms, facts, begun_ms)


def _named(rows: Iterable[asyncpg.Record]) -> list[NamedConversation]:
    return [NamedConversation(shard, key.bytes, *names) for shard, key, *names in rows]


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _uuids(keys: Iterable[bytes]) -> list[DriverUUID]:
    return [DriverUUID(key) for key in keys]
