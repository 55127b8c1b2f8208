"""What must hold, during a simulation and after it: the ledger against the reference model and itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from quarterhour.comparing import compare
from schemas.outcomes import Outcome
from schemas.times import format_time_ms
from sessionizer import reference
from sessionizer.bill import bill
from sessionizer.blocks import Block
from sessionizer.facts import FactSet
from sessionizer.ids import usage_session_id
from sinks.ledger import Checkpoint, RecordChange, SealRow, SourcePartition
from streams.conversations import conversation_key
from tests.simulation.ledger import MemoryLedger, published
from tests.simulation.traffic import Arrival
from tests.simulation.worker import RULES
from tests.sinks.contract import Published

ALGORITHM = 1
SAVES_A_LOOK = 15
REFERENCE_RULES = [
    {
        "account_id": None,
        "bot_id": None,
        "effective_ms": RULES.effective_ms,
        "block_ms": RULES.block_ms,
        "idle_timeout_ms": RULES.idle_timeout_ms,
        "handoff_timeout_ms": RULES.handoff_timeout_ms,
    }
]
Written = Mapping[SourcePartition, Mapping[int, Arrival]]
"""What the logs hold, by partition and offset."""


class Violation(Exception):
    """Something that must hold does not."""


class WatchedLedger(MemoryLedger):
    """A ledger that looks at its saves: time does not run backwards, final stays final, the bill is right."""

    def __init__(self, written: Written, violated: Callable[[str], None]) -> None:
        super().__init__(ALGORITHM)
        self.saves = 0
        self.seals = 0
        self._written = written
        self._violated = violated
        self._settled_ms: dict[int, int] = {}
        self._told = 0
        self._ever_final: set[bytes] = set()

    async def save(self, checkpoint: Checkpoint) -> Counter[RecordChange]:
        """See `Ledger.save`."""
        recognised = self.recognised
        changes = await super().save(checkpoint)
        if self.recognised == recognised:
            self.saves += 1
            self._watch(checkpoint)
            if self.saves % SAVES_A_LOOK == 0:
                self._look()
        return changes

    async def seal(self, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]) -> None:
        """See `Ledger.seal`."""
        await super().seal(owner, sources, rows)
        self.seals += sum(row.seal is not None for row in rows)

    def _look(self) -> None:
        """A ledger is right at any time, for the offsets that it says it has read."""
        try:
            check_bill(self, self._written)
            check_settled(self, self._settled_ms)
        except Violation as violation:
            self._violated(f"after {self.saves} checkpoints: {violation}")

    def _watch(self, checkpoint: Checkpoint) -> None:
        # One that moves nothing says nothing either, and may be saved again out of turn.
        moves = any(advance.next_offset != advance.expected_offset for advance in checkpoint.advances)
        for shard, before_ms in checkpoint.settled if moves else ():
            if before_ms < self._settled_ms.get(shard, before_ms):
                self._violated(f"the watermark of shard {shard} runs backwards")
            self._settled_ms[shard] = before_ms
        settled_ms = self._settled_ms | dict(checkpoint.settled)
        for _, record in self.data.changes[self._told :]:
            if record.status == "final" and record.session_id not in self._ever_final:
                self._ever_final.add(record.session_id)
                if record.kind == "usage" and not self._has_settled(record, settled_ms):
                    self._violated(f"{record.session_id.hex()} is final before its session has settled")
        self._told = len(self.data.changes)
        for session_id in self._ever_final:
            if self.data.records[session_id].status == "open":
                self._violated(f"{session_id.hex()} was final and is open")

    def _has_settled(self, record: Published, settled_ms: Mapping[int, int]) -> bool:
        key = conversation_key(f"{record.account_id}|{record.bot_id}|{record.conversation_id}".encode())
        return any(
            block.settles_ms < settled_ms[self.data.conversations[key].shard]
            for block in _blocks(self, key)
            if block.session_started_ms == record.session_started_ms
        )


def check_bill(ledger: MemoryLedger, written: Written) -> None:
    """Raise `Violation` unless the ledger holds what the reference model makes of all it says it has read."""
    read = list(_read(ledger, written))
    events = [arrival.event for _, _, arrival in read if not arrival.reason]
    expected = reference.sessionize(events, REFERENCE_RULES)
    found = [_document(published(record, ALGORITHM)) for record in ledger.data.records.values()]
    comparison = compare(found, expected)
    if not comparison.equal and (found or expected):
        raise Violation(
            f"records: {comparison.only_left} are in the ledger only, {comparison.only_right} in the"
            f" reference only, {comparison.differing} differ"
        )
    letters = Counter(arrival.reason for _, _, arrival in read if arrival.reason)
    _check_outcomes(ledger, Counter(reference.outcomes(events)), letters, read)
    _check_dead_letters(ledger, read)


def check_settled(ledger: MemoryLedger, settled_ms: Mapping[int, int]) -> None:
    """Raise `Violation` if a session that settles before the time of its shard has an open record."""
    for key, row in ledger.data.conversations.items():
        for block in _blocks(ledger, key):
            ids = (row.account_id, row.bot_id, row.conversation_id, block.session_started_ms, block.block)
            record = ledger.data.records[usage_session_id(*ids).bytes]
            if record.status != "final" and block.settles_ms < settled_ms.get(row.shard, 0):
                raise Violation(f"{record.row.session_id.hex()} has settled and is {record.status}")


def check_books(ledger: MemoryLedger) -> None:
    """Raise `Violation` unless the ledger agrees with itself: facts, records, and the feed of changes."""
    _check_changes(ledger)
    alive: dict[tuple[str, str, str], set[bytes]] = defaultdict(set)
    for session_id, record in ledger.data.records.items():
        row = record.row
        named = f"{row.account_id}|{row.bot_id}|{row.subject_id}"
        seal = ledger.data.seals.get(conversation_key(named.encode()))
        is_sealed = seal is not None and (row.session_started_ms or 0) <= seal.through_ms
        if row.kind == "usage" and record.status != "void" and not is_sealed:
            alive[row.account_id, row.bot_id, row.subject_id].add(session_id)
    for key, row in ledger.data.conversations.items():
        seal = ledger.data.seals.get(key)
        count = _facts(ledger, key).revision + (seal.facts if seal else 0)
        if count != row.revision:
            raise Violation(f"{row.conversation_id}: {count} facts, revision {row.revision}")
        named = {row.record_ids[at : at + 16] for at in range(0, len(row.record_ids), 16)}
        if named != alive[row.account_id, row.bot_id, row.conversation_id]:
            raise Violation(f"{row.conversation_id} names other records than there are")


def _facts(ledger: MemoryLedger, key: bytes) -> FactSet:
    chunks = ledger.data.chunks[key]
    return FactSet.load(b"".join(c.facts for c in chunks), "".join(c.strings for c in chunks))


def _blocks(ledger: MemoryLedger, key: bytes) -> Sequence[Block]:
    """What is to be billed of a conversation, by the facts that the ledger holds."""
    facts = _facts(ledger, key)
    return bill(facts, RULES).blocks if facts.revision else ()


def _read(ledger: MemoryLedger, written: Written) -> Iterator[tuple[SourcePartition, int, Arrival]]:
    """What lies before the offsets that the ledger has saved."""
    for source, place in ledger.data.places.items():
        for offset, arrival in written[source].items():
            if offset < place.next_offset:
                yield source, offset, arrival


def _check_outcomes(
    ledger: MemoryLedger,
    of_events: Counter[str],
    of_letters: Counter[str],
    read: Iterable[tuple[SourcePartition, int, Arrival]],
) -> None:
    found: Counter[str] = Counter()
    records: Counter[SourcePartition] = Counter()
    for (source, outcome, reason), count in ledger.data.outcomes.items():
        found[f"{Outcome.DEAD_LETTER} {reason}" if reason else str(outcome)] += count
        records[source] += count
    expected = of_events + Counter({f"{Outcome.DEAD_LETTER} {each}": n for each, n in of_letters.items()})
    if +found != +expected:
        raise Violation(f"outcomes: {dict(found - expected)} too many, {dict(expected - found)} too few")
    there = Counter(source for source, _, _ in read)
    for source, place in ledger.data.places.items():
        if records[source] != there[source]:
            raise Violation(f"{source}: {records[source]} outcomes of {there[source]} records")
        if place.next_offset - place.gap_count != there[source]:
            raise Violation(
                f"{source}: {place.gap_count} gaps, {there[source]} records in {place.next_offset}"
            )


def _check_dead_letters(ledger: MemoryLedger, read: Iterable[tuple[SourcePartition, int, Arrival]]) -> None:
    expected = {
        (source, offset): (arrival.reason, arrival.key, arrival.value)
        for source, offset, arrival in read
        if arrival.reason
    }
    letters = ledger.data.dead_letters.items()
    if {place: (letter.reason, letter.key, letter.value) for place, letter in letters} != expected:
        raise Violation("other dead letters than bad records")


def _check_changes(ledger: MemoryLedger) -> None:
    changes = ledger.data.changes
    if [change.position for change in changes] != list(range(1, len(changes) + 1)):
        raise Violation("the positions of changes have gaps")
    last = {change.record.session_id: change.record for change in changes}
    for session_id, record in ledger.data.records.items():
        now = published(record, ALGORITHM)
        if session_id in last and last[session_id] != now:
            raise Violation(f"{session_id.hex()}: the last change is {last[session_id]}, the record {now}")
        if session_id not in last and record.status != "open":
            raise Violation(f"{session_id.hex()} is {record.status}, and no change said so")


def _document(record: Published) -> dict[str, Any]:
    """A record in its published form."""
    fields = record._asdict() | {"session_id": str(UUID(bytes=record.session_id))}
    for name in ("session_started", "started", "ended"):
        time_ms = fields.pop(f"{name}_ms")
        fields[f"{name}_at"] = None if time_ms is None else format_time_ms(time_ms)
    return {name: value for name, value in fields.items() if value is not None}
