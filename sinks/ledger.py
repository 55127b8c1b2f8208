"""What the stream asks of a ledger, and the shapes that pass between them.

Imports no driver, so that a ledger can be simulated. It holds session records, facts, dead letters, outcome
counts and the progress of every source partition, and saves them together or not at all (architecture.md
section 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

Row = TypeVar("Row")

_PACKED_AT_ONCE = 1_000
_pack = msgspec.msgpack.Encoder().encode


class SourcePartition(NamedTuple):
    """One partition of one Kafka topic."""

    topic: str
    partition: int


class LimitCounts(NamedTuple):
    """What the limit on dead letters has counted of a source partition: those in a row, and in its window."""

    run: int = 0
    records: int = 0
    dead_letters: int = 0


class Position(NamedTuple):
    """How far a source partition was read, and its clock (ms since 1970 UTC; 0: nothing seen yet)."""

    next_offset: int
    clock_ms: int
    counts: LimitCounts = LimitCounts()
    accepted_offset: int = 0
    """Dead letters before this offset do not count for the limit: an operator has accepted them."""


class SourceTopic(NamedTuple):
    """A topic as Kafka has it, or as it was when it was first read; the id is None if it is not known."""

    partitions: int
    topic_id: UUID | None


class Advance(NamedTuple):
    """The move of one source partition that a checkpoint saves."""

    source: SourcePartition
    expected_offset: int
    next_offset: int
    clock_ms: int
    gap_count: int
    counts: LimitCounts = LimitCounts()


class Seal(NamedTuple):
    """What is left of the oldest facts of a conversation: they are gone, and none may come any more."""

    through_ms: int
    """Facts at or before this time are gone."""
    facts: int
    """How many: they still count for the revision."""
    begun_ms: int
    """The time of the conversation's first fact, which decides its rule set."""


class StoredConversation(NamedTuple):
    """A conversation as the ledger holds it; `record_ids` are 16 bytes each, joined.

    With a seal, facts, strings and record ids are those of what came after it.
    """

    revision: int
    settles_ms: int
    record_ids: bytes
    facts: bytes
    strings: str
    seal: Seal | None = None


class NamedConversation(NamedTuple):
    """Where a conversation is, what it is stored under, and what it is called."""

    shard: int
    key: bytes
    account_id: str
    bot_id: str
    conversation_id: str


class SealRow(NamedTuple):
    """A conversation that was looked at to be sealed; its facts, strings and record ids are what stays of it.

    Without a seal nothing of it changes. `due_ms`: what is to be looked at again once this is so long ago.
    """

    key: bytes
    due_ms: int
    seal: Seal | None = None
    revision: int = 0
    record_ids: bytes = b""
    facts: bytes = b""
    strings: str = ""


class AlertReport(NamedTuple):
    """One report that an alert was delivered."""

    reported_ms: int
    user_id: str
    channel: str


class StoredAlert(NamedTuple):
    """An alert delivery as the ledger holds it: its first report, which is its record, and all others."""

    first: AlertReport
    revision: int
    further: tuple[AlertReport, ...]


class ConversationRow(NamedTuple):
    """A conversation that a checkpoint touched."""

    key: bytes
    account_id: str
    bot_id: str
    conversation_id: str
    shard: int
    revision: int
    settles_ms: int
    record_ids: bytes
    begun_ms: int
    """The time of its first fact."""


class ChunkRow(NamedTuple):
    """Facts to append to a conversation; `revision` is the conversation's with them."""

    key: bytes
    revision: int
    facts: bytes
    strings: str


class RecordRow(NamedTuple):
    """A session record to write.

    `late`: a fact behind the allowed lateness brought it, so it is a correction from the start.
    `settles_ms`: when its session settles, if it is the last record of one that is open. When that has
    passed, all records of the session that are open are final; on the others it is None.
    """

    session_id: bytes
    kind: str
    account_id: str
    bot_id: str
    user_id: str
    channel: str
    subject_id: str
    session_started_ms: int | None
    block: int | None
    started_ms: int
    ended_ms: int
    bot_ms: int | None
    agent_ms: int | None
    user_messages: int | None
    bot_messages: int | None
    status: str
    revision: int
    late: bool
    settles_ms: int | None
    shard: int


class VoidRow(NamedTuple):
    """A session record that the facts no longer yield."""

    session_id: bytes
    revision: int


class AlertReportRow(NamedTuple):
    """A report of an alert delivery that differs from its first."""

    session_id: bytes
    reported_ms: int
    user_id: str
    channel: str


class DeadLetterRow(NamedTuple):
    """A record that is not an event, as it was read."""

    source: SourcePartition
    offset: int
    reason: str
    field: str
    detail: str
    key: bytes | None
    value: bytes | None
    recorded_ms: int
    account_id: str | None = None
    """Whose it is, as far as that can be told."""
    replay_of: str | None = None
    """The first dead letter of those that it was replayed from, as topic/partition/offset."""


class Rejection(NamedTuple):
    """What a producer is told of a dead letter."""

    source: SourcePartition
    offset: int
    reason: str
    field: str
    detail: str
    account_id: str | None
    replay_of: str | None
    recorded_ms: int


class OutcomeKey(NamedTuple):
    """What is counted: records of a source partition by outcome; dead letters by reason code too."""

    source: SourcePartition
    outcome: str
    reason: str


class Horizon(NamedTuple):
    """Facts of a shard that are older than this may be sealed: no event may come any more that is."""

    shard: int
    before_ms: int


class Settled(NamedTuple):
    """Sessions of a shard that settle before this time (watermark less allowed lateness) are final."""

    shard: int
    before_ms: int


class Rows(Generic[Row]):
    """Rows in the order in which they were added; all but the last few wait in packed form.

    As objects they would take several times as much memory, and the interpreter would keep it when they are
    gone: it gives back none that lies between objects that live longer.
    """

    def __init__(self, row_type: type[Row], rows: Iterable[Row] = ()) -> None:
        self._row_type = row_type
        self._packed: list[bytes] = []
        self._loose: list[Row] = []
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Add a row."""
        self._loose.append(row)
        if len(self._loose) == _PACKED_AT_ONCE:
            self._packed.append(_pack(self._loose))
            self._loose.clear()

    def __len__(self) -> int:
        return len(self._packed) * _PACKED_AT_ONCE + len(self._loose)

    def __iter__(self) -> Iterator[Row]:
        decoder = msgspec.msgpack.Decoder(list[self._row_type])  # type: ignore[name-defined]
        for packed in self._packed:
            yield from decoder.decode(packed)
        yield from self._loose


@dataclass(slots=True)
class Checkpoint:
    """Everything that one transaction saves."""

    owner: UUID
    advances: Sequence[Advance]
    settled: Sequence[Settled] = ()
    conversations: Rows[ConversationRow] = field(default_factory=lambda: Rows(ConversationRow))
    chunks: Rows[ChunkRow] = field(default_factory=lambda: Rows(ChunkRow))
    records: Rows[RecordRow] = field(default_factory=lambda: Rows(RecordRow))
    voids: list[VoidRow] = field(default_factory=list)
    alert_reports: list[AlertReportRow] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    outcomes: dict[OutcomeKey, int] = field(default_factory=dict)
    recomputed: list[NamedConversation] = field(default_factory=list)
    """Of the requests to bill anew, those that were met."""


class RecordChange(NamedTuple):
    """What a checkpoint did to some records: their kind, new status, and whether that was a correction."""

    kind: str
    status: str
    corrected: bool


class Fenced(Exception):
    """Another worker owns a partition now, or it was moved: nothing was written. The worker must stop."""


class Unreachable(Exception):
    """The ledger did not answer. Call again with the same: a checkpoint that was saved is recognised."""


class Refused(Exception):
    """The database answers and says no: a wrong login or role, or a schema that is not this version's."""


class Ledger(Protocol):
    """The truth. Every method may raise `Unreachable`, and is then safe to call again."""

    async def claim(
        self, owner: UUID, earliest: Mapping[SourcePartition, int]
    ) -> dict[SourcePartition, Position]:
        """Make `owner` the only one who can save these partitions.

        One never seen before starts at its earliest offset, any other where it was last saved.
        """
        ...

    async def look_up_conversations(self, keys: Sequence[bytes]) -> dict[bytes, StoredConversation]:
        """The conversations of these 16-byte keys that the ledger holds."""
        ...

    async def look_up_alerts(self, session_ids: Sequence[bytes]) -> dict[bytes, StoredAlert]:
        """The alert deliveries of these 16-byte session ids that the ledger holds."""
        ...

    async def recompute_requests(self, shards: Sequence[int], most: int) -> list[NamedConversation]:
        """Conversations of these shards that are to be billed anew by this algorithm, at most so many."""
        ...

    async def sealed_through_ms(self) -> int:
        """The newest time that anything is sealed through; -1 if nothing is."""
        ...

    async def sealable(self, horizons: Sequence[Horizon], most: int) -> list[NamedConversation]:
        """Settled conversations of which something may be sealed, of each shard at most so many."""
        ...

    async def seal(self, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]) -> None:
        """Seal these settled conversations, or raise `Fenced` if their partitions are not all the owner's."""
        ...

    async def save(self, checkpoint: Checkpoint) -> Counter[RecordChange]:
        """Save all of it, or raise: `Fenced` if a partition is not where and whose the checkpoint says."""
        ...
