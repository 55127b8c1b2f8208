"""A ledger in memory that keeps the promises of the real one: the plain model of what a checkpoint does.

Every method is one step without an await, so a save is there in full or not at all. What a network does to
calls is another module's (`network.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sinks.ledger import (
    AlertReport,
    Checkpoint,
    ChunkRow,
    ConversationRow,
    DeadLetterRow,
    Fenced,
    Horizon,
    LimitCounts,
    NamedConversation,
    OutcomeKey,
    Position,
    RecordChange,
    RecordRow,
    Seal,
    SealRow,
    Settled,
    SourcePartition,
    StoredAlert,
    StoredConversation,
    VoidRow,
)
from tests.sinks.contract import Change, Published

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
NEVER = (1 << 63) - 1


@dataclass(slots=True)
class Place:
    """A source partition: where it stands, and whose it is."""

    next_offset: int
    owner: UUID
    clock_ms: int = 0
    gap_count: int = 0
    counts: LimitCounts = LimitCounts()


@dataclass(slots=True)
class Stored:
    """A session record and what became of it."""

    row: RecordRow
    status: str
    revision: int
    corrected_at: datetime | None

    @property
    def was_final(self) -> bool:
        """Whether consumers have been told that it is final, now or before it became void."""
        return self.status == "final" or self.corrected_at is not None


@dataclass(slots=True)
class Data:
    """All that the ledger holds."""

    places: dict[SourcePartition, Place] = field(default_factory=dict)
    conversations: dict[bytes, ConversationRow] = field(default_factory=dict)
    unsettled: set[bytes] = field(default_factory=set)
    seals: dict[bytes, Seal] = field(default_factory=dict)
    seals_due_ms: dict[bytes, int] = field(default_factory=dict)
    requested: set[bytes] = field(default_factory=set)
    chunks: dict[bytes, list[ChunkRow]] = field(default_factory=dict)
    records: dict[bytes, Stored] = field(default_factory=dict)
    reports: dict[bytes, dict[AlertReport, None]] = field(default_factory=dict)
    dead_letters: dict[tuple[SourcePartition, int], DeadLetterRow] = field(default_factory=dict)
    outcomes: Counter[OutcomeKey] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)


class MemoryLedger:
    """A `Ledger`. Its clock has one tick a checkpoint."""

    def __init__(self, algorithm: int) -> None:
        self.data = Data()
        self.recognised = 0
        """Checkpoints that had been saved before."""
        self._algorithm = algorithm
        self._now = EPOCH

    async def claim(
        self, owner: UUID, earliest: Mapping[SourcePartition, int]
    ) -> dict[SourcePartition, Position]:
        """See `Ledger.claim`."""
        places = self.data.places
        for source, offset in earliest.items():
            places.setdefault(source, Place(offset, owner)).owner = owner
        return {
            source: Position(places[source].next_offset, places[source].clock_ms, places[source].counts)
            for source in earliest
        }

    async def look_up_conversations(self, keys: Sequence[bytes]) -> dict[bytes, StoredConversation]:
        """See `Ledger.look_up_conversations`."""
        return {key: self._stored(key) for key in keys if key in self.data.conversations}

    async def look_up_alerts(self, session_ids: Sequence[bytes]) -> dict[bytes, StoredAlert]:
        """See `Ledger.look_up_alerts`."""
        found = {}
        for key in session_ids:
            if record := self.data.records.get(key):
                first = AlertReport(record.row.started_ms, record.row.user_id, record.row.channel)
                found[key] = StoredAlert(first, record.revision, tuple(self.data.reports.get(key, ())))
        return found

    async def recompute_requests(self, shards: Sequence[int], most: int) -> list[NamedConversation]:
        """See `Ledger.recompute_requests`."""
        rows = [self.data.conversations[key] for key in sorted(self.data.requested)]
        return [_named(row) for row in rows if row.shard in shards][:most]

    async def sealed_through_ms(self) -> int:
        """See `Ledger.sealed_through_ms`."""
        return max([-1, *(seal.through_ms for seal in self.data.seals.values())])

    async def sealable(self, horizons: Sequence[Horizon], most: int) -> list[NamedConversation]:
        """See `Ledger.sealable`."""
        found = []
        for shard, before_ms in horizons:
            due = [
                (self.data.seals_due_ms[key], _named(row))
                for key, row in self.data.conversations.items()
                if row.shard == shard and key not in self.data.unsettled
            ]
            found += [named for due_ms, named in sorted(due) if due_ms < before_ms][:most]
        return found

    async def seal(self, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]) -> None:
        """See `Ledger.seal`."""
        if any(self.data.places[source].owner != owner for source in sources):
            raise Fenced("not all partitions are ours")
        for row in rows:
            self.data.seals_due_ms[row.key] = row.due_ms
            if row.seal:
                self.data.seals[row.key] = row.seal
                conversation = self.data.conversations[row.key]
                self.data.conversations[row.key] = conversation._replace(record_ids=row.record_ids)
                rest = ChunkRow(row.key, row.revision, row.facts, row.strings)
                self.data.chunks[row.key] = [rest] if row.facts else []

    async def save(self, checkpoint: Checkpoint) -> Counter[RecordChange]:
        """See `Ledger.save`."""
        if not self._pass_fence(checkpoint):
            self.recognised += 1
            return Counter()
        self._now += timedelta(milliseconds=1)
        changed = self._write_records(checkpoint)
        self._write_conversations(checkpoint)
        changed |= self._settle(checkpoint.settled)
        for session_id, reported_ms, user_id, channel in checkpoint.alert_reports:
            reports = self.data.reports.setdefault(session_id, {})
            reports[AlertReport(reported_ms, user_id, channel)] = None
        for letter in checkpoint.dead_letters:
            assert (letter.source, letter.offset) not in self.data.dead_letters, "a dead letter saved twice"
            self.data.dead_letters[letter.source, letter.offset] = letter
        self.data.outcomes.update(checkpoint.outcomes)
        return self._publish(changed)

    def _pass_fence(self, checkpoint: Checkpoint) -> bool:
        """Move our partitions, or return False if this very checkpoint was saved before."""
        pairs = [(self.data.places.get(advance.source), advance) for advance in checkpoint.advances]
        if any(place is None or place.owner != checkpoint.owner for place, _ in pairs):
            raise Fenced("not all partitions are ours")
        if all(place.next_offset == advance.expected_offset for place, advance in pairs):
            for place, advance in pairs:
                place.next_offset = advance.next_offset
                place.clock_ms = max(place.clock_ms, advance.clock_ms)
                place.gap_count += advance.gap_count
                place.counts = advance.counts
            return True
        if all(place.next_offset == advance.next_offset for place, advance in pairs):
            return False
        raise Fenced("not all partitions are where they were")

    def _stored(self, key: bytes) -> StoredConversation:
        row, chunks = self.data.conversations[key], self.data.chunks.get(key, [])
        facts = b"".join(chunk.facts for chunk in chunks)
        strings = "".join(chunk.strings for chunk in chunks)
        seal = self.data.seals.get(key)
        return StoredConversation(row.revision, row.settles_ms, row.record_ids, facts, strings, seal)

    def _write_conversations(self, checkpoint: Checkpoint) -> None:
        self.data.requested -= {conversation.key for conversation in checkpoint.recomputed}
        for row in checkpoint.conversations:
            due_ms = self.data.seals_due_ms.get(row.key, row.begun_ms + DAY_MS)
            self.data.seals_due_ms[row.key] = due_ms if due_ms < NEVER else row.settles_ms
            self.data.conversations[row.key] = row
            self.data.unsettled.add(row.key)
        for chunk in checkpoint.chunks:
            chunks = self.data.chunks.setdefault(chunk.key, [])
            assert not chunks or chunks[-1].revision < chunk.revision, "two chunks of one revision"
            chunks.append(chunk)

    def _write_records(self, checkpoint: Checkpoint) -> set[bytes]:
        """Write records and voids; return the ids of those that changed."""
        changed = {row.session_id for row in checkpoint.records if self._write_record(row)}
        changed |= {void.session_id for void in checkpoint.voids if self._void(void)}
        return changed

    def _write_record(self, row: RecordRow) -> bool:
        """Write a record whose content or settling changed; return whether that is a change to tell."""
        old = self.data.records.get(row.session_id)
        if old is None or (old.status == "void" and not old.was_final):
            at_once = self._now if row.late and row.status == "final" else None
            self.data.records[row.session_id] = Stored(row, row.status, row.revision, at_once)
            return True
        before = (old.status, old.revision, old.corrected_at)
        if old.status == "void" or _bill(old.row) != _bill(row):
            old.corrected_at = self._now if old.was_final else None
            old.revision = row.revision
            old.status = "final" if old.was_final else row.status
        elif not old.was_final:
            old.status = row.status
        old.row = row
        return before != (old.status, old.revision, old.corrected_at)

    def _void(self, void: VoidRow) -> bool:
        record = self.data.records.get(void.session_id)
        if record is None or record.status == "void":
            return False
        record.corrected_at = self._now if record.was_final else None
        record.status, record.revision = "void", void.revision
        record.row = record.row._replace(settles_ms=None)
        return True

    def _settle(self, settled: Sequence[Settled]) -> set[bytes]:
        """Make final what the watermark has passed, and one chunk of each conversation; return which."""
        due: set[bytes] = set()
        for shard, before_ms in settled:

            def is_due(row: RecordRow, shard: int = shard, before_ms: int = before_ms) -> bool:
                return row.shard == shard and row.settles_ms is not None and row.settles_ms < before_ms

            sessions = {_session(record.row) for record in self.data.records.values() if is_due(record.row)}
            for session_id, record in self.data.records.items():
                row = record.row
                if is_due(row) or (row.settles_ms is None and _session(row) in sessions):
                    record.row = row._replace(settles_ms=None)
                    if record.status == "open":
                        record.status = "final"
                        due.add(session_id)
            self._settle_conversations(shard, before_ms)
        return due

    def _settle_conversations(self, shard: int, before_ms: int) -> None:
        for key in list(self.data.unsettled):
            conversation = self.data.conversations[key]
            if conversation.shard == shard and conversation.settles_ms < before_ms:
                self.data.unsettled.remove(key)
                self._join_chunks(key)

    def _join_chunks(self, key: bytes) -> None:
        if self.data.chunks.get(key):
            stored, last = self._stored(key), self.data.chunks[key][-1]
            self.data.chunks[key] = [ChunkRow(key, last.revision, stored.facts, stored.strings)]

    def _publish(self, changed: set[bytes]) -> Counter[RecordChange]:
        """Number the changes that consumers must hear of; return the sums of all."""
        sums: Counter[RecordChange] = Counter()
        for session_id in sorted(changed):
            record = self.data.records[session_id]
            corrected = record.corrected_at == self._now
            sums[RecordChange(record.row.kind, record.status, corrected)] += 1
            if record.status != "open":
                position = len(self.data.changes) + 1
                self.data.changes.append(Change(position, published(record, self._algorithm)))
        return sums


class MemoryInspect:
    """See `tests.sinks.contract.Inspect`."""

    def __init__(self, ledger: MemoryLedger, algorithm: int) -> None:
        self._data = ledger.data
        self._algorithm = algorithm

    async def records(self) -> list[Published]:
        return [published(record, self._algorithm) for _, record in sorted(self._data.records.items())]

    async def changes(self, after: int = 0) -> list[Change]:
        return self._data.changes[after:]

    async def positions(self) -> dict[SourcePartition, Position]:
        places = self._data.places.items()
        return {source: Position(place.next_offset, place.clock_ms) for source, place in places}

    async def gap_counts(self) -> dict[SourcePartition, int]:
        return {source: place.gap_count for source, place in self._data.places.items()}

    async def chunks(self, number: int) -> list[bytes]:
        return [chunk.facts for chunk in self._data.chunks.get(number.to_bytes(16, "big"), [])]

    async def outcome_counts(self) -> dict[OutcomeKey, int]:
        return dict(self._data.outcomes)

    async def dead_letters(self) -> list[DeadLetterRow]:
        return [letter for _, letter in sorted(self._data.dead_letters.items())]

    async def request_recompute(self, number: int) -> None:
        self._data.requested.add(number.to_bytes(16, "big"))

    async def everything(self) -> Data:
        return deepcopy(self._data)


def published(record: Stored, algorithm: int) -> Published:
    """A record as consumers see it."""
    row = record.row
    is_usage = row.kind == "usage"
    return Published(
        *row[:6],
        row.subject_id if is_usage else None,
        None if is_usage else row.subject_id,
        *row[7:15],
        *(record.status, record.revision, record.corrected_at, algorithm),
    )


def _named(row: ConversationRow) -> NamedConversation:
    return NamedConversation(row.shard, row.key, row.account_id, row.bot_id, row.conversation_id)


def _session(row: RecordRow) -> tuple[object, ...]:
    """What the records of one session, and no others, have in common."""
    return row.account_id, row.bot_id, row.subject_id, row.session_started_ms


def _bill(row: RecordRow) -> tuple[object, ...]:
    """What is billed of a record, apart from its identity."""
    billed = (row.user_id, row.channel, row.started_ms, row.ended_ms, row.bot_ms, row.agent_ms)
    return *billed, row.user_messages, row.bot_messages
