"""What must hold of every input, and of what a group of inputs does together up to the checkpoint's rows.

Inputs are read one by one and again as batches; what was accepted is merged into shards and taken into a
checkpoint, so that no accepted event breaks what comes later.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from schemas.events import MODELS, fields_of
from schemas.outcomes import Outcome
from schemas.reasons import MAX_DETAIL_CHARACTERS, Reason
from schemas.topics import Topic
from sessionizer.facts import FactSet
from sessionizer.rules import RuleBook
from sinks.ledger import Checkpoint, DeadLetterRow, OutcomeKey, SourcePartition, StoredConversation
from streams.batches import Batch
from streams.conversations import Conversation, ConversationShard
from streams.deliveries import AlertShard
from streams.reading import Reader, Reading
from tests.fuzz.expecting import CONTRACT, LATEST_MS, Expected, FuzzRecord, expect
from tests.fuzz.inputs import Input
from tests.streams.readings import facts_of, said, taken_of

MOST_CPU_MS = 500
"""Of one input of a megabyte, many times what it takes: what goes beyond this grows with the square."""

_MAX_INTEGER = (1 << 31) - 1
_MAX_BIGINT = (1 << 63) - 1
_FIELDS = {"", *(field for model in MODELS for field in fields_of(model))}
_SHARD = 0
_SETTLED_BEFORE_MS = 1_790_000_000_000


class Broken(Exception):
    """The product did not keep what it promises; `place` is the input's in its group, if it is one alone."""

    def __init__(self, what: str, place: int | None = None) -> None:
        super().__init__(what)
        self.place = place


class Seen(NamedTuple):
    """What became of one input."""

    outcome: str
    reason: str
    field: str
    detail: str
    cpu_ms: float
    value_bytes: int


def check(inputs: Iterable[Input]) -> list[Seen]:
    """Check each input, and then what they do together. Raises `Broken`."""
    records: dict[tuple[Topic, int], list[tuple[FuzzRecord, Reading]]] = defaultdict(list)
    seen = []
    for place, given in enumerate(inputs):
        with _blaming(place):
            record, expected = expect(given, place)
            reading, cpu_ms = _read(given, record)
            seen.append(_judge(record, expected, reading, cpu_ms))
        records[given.topic, given.partitions].append((record, reading))
    with _blaming(None):
        _check_together(records)
    return seen


class _blaming:
    """Turns whatever is raised within into `Broken`; Rust's panics are no Exception."""

    def __init__(self, place: int | None) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
            what = str(error) if isinstance(error, Broken) else "".join(traceback.format_exception(error))
            raise Broken(what, self._place) from None


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


def _read(given: Input, record: FuzzRecord) -> tuple[Reading, float]:
    """Read a record alone, twice: the same comes of it; return it, with the CPU time of the first."""
    reader = _reader(given.topic, given.partitions)
    started = time.thread_time_ns()
    first = reader.read(_batch(given.topic, [record]))
    cpu_ms = (time.thread_time_ns() - started) / 1e6
    again = reader.read(_batch(given.topic, [record]))
    _expect(said(again) == said(first), "the same input again gives something else")
    _expect(cpu_ms < MOST_CPU_MS, f"took {cpu_ms:.0f} ms, at most {MOST_CPU_MS} are allowed")
    return first, cpu_ms


def _reader(topic: Topic, partitions: int, known: Any = ()) -> Reader:
    return Reader(SourcePartition(topic, 0), topic, partitions, CONTRACT, known)


def _batch(topic: Topic, records: Sequence[FuzzRecord]) -> Batch:
    return Batch(SourcePartition(topic, 0), records[0].offset, records[-1].offset + 1, records, 1)


def _judge(record: FuzzRecord, expected: Expected, reading: Reading, cpu_ms: float) -> Seen:
    """Compare what one record gave with what it must give."""
    taken = [(key, fact) for key, facts in taken_of(reading).items() for fact in facts]
    outcomes = list(reading.outcomes.elements())
    _expect(len(taken) + len(outcomes) == 1, f"not one outcome: {taken} {outcomes}")
    outcome, reason, field, detail = Outcome.FACT, "", "", ""
    if taken:
        _expect(taken[0] == (expected.key, expected.taken), f"took {taken[0]}, expected {expected}")
    else:
        _, outcome, reason = outcomes[0]
    if outcome == Outcome.DEAD_LETTER:
        field, detail = _check_dead_letter(record, reading.dead_letters, reason)
    else:
        _expect(not reading.dead_letters, "a dead letter that is not counted")
    found = (outcome, reason, field)
    _expect(found == expected[:3], f"the decoder says {found}, the second one {expected[:3]}: {detail}")
    return Seen(*(outcome, reason, field, detail), cpu_ms, len(record.value or b""))


def _check_dead_letter(record: FuzzRecord, letters: Sequence[DeadLetterRow], reason: str) -> tuple[str, str]:
    _expect(len(letters) == 1, f"{len(letters)} dead letters")
    letter = letters[0]
    _expect(reason == letter.reason and Reason(reason), f"counted {reason}, kept {letter.reason}")
    _expect(letter.field in _FIELDS, f"field {letter.field!r} is none of the contract")
    _expect(len(letter.detail) <= MAX_DETAIL_CHARACTERS, "a detail too long")
    _expect(letter.detail.isascii() and (letter.detail + ".").isprintable(), f"detail {letter.detail!r}")
    as_read = (letter.offset, letter.key, letter.value)
    _expect(as_read == (record.offset, record.key, record.value), "the record is not kept as it was read")
    _check_storable([letter], "recorded_ms")
    return letter.field, letter.detail


def _check_together(records: dict[tuple[Topic, int], list[tuple[FuzzRecord, Reading]]]) -> None:
    """Read as batches, merge, take into a checkpoint, and load what it would store."""
    conversations, alerts = (
        ConversationShard(_SHARD, RuleBook()),
        AlertShard(SourcePartition(Topic.ALERT_DELIVERY, _SHARD)),
    )
    readings = [
        (topic, _read_batch(topic, partitions, read)) for (topic, partitions), read in records.items()
    ]
    for expect_new in (True, False):
        for topic, reading in readings:
            merged = _merge(alerts if topic is Topic.ALERT_DELIVERY else conversations, reading)
            _expect(sum(merged.values()) == sum(map(len, taken_of(reading).values())), f"merged {merged}")
            _expect(
                expect_new or all(key.outcome == Outcome.REPEAT for key in merged),
                f"the same again gave {merged}",
            )
    checkpoint = Checkpoint(UUID(int=1), ())
    conversations.take(_SETTLED_BEFORE_MS, 1, checkpoint)
    alerts.take(1, checkpoint)
    _check_storable(checkpoint.conversations)
    _check_storable(checkpoint.chunks)
    _check_storable(checkpoint.records, "session_started_ms", "started_ms", "ended_ms")
    _check_storable(checkpoint.alert_reports, "reported_ms")
    _check_facts(checkpoint, [reading for topic, reading in readings if topic is not Topic.ALERT_DELIVERY])


def _read_batch(topic: Topic, partitions: int, alone: Sequence[tuple[FuzzRecord, Reading]]) -> Reading:
    """Read records as one batch: it must give what each of them gave alone."""
    reading = _reader(topic, partitions).read(_batch(topic, [record for record, _ in alone]))
    outcomes: Counter[OutcomeKey] = Counter()
    by_key: dict[bytes, list[Any]] = defaultdict(list)
    for _, single in alone:
        outcomes += single.outcomes
        for key, taken in taken_of(single).items():
            by_key[key] += taken
    letters = [letter for _, single in alone for letter in single.dead_letters]
    newest_ms = max(single.newest_ms for _, single in alone)
    alone_said = (by_key, outcomes, letters, newest_ms)
    _expect(said(reading) == alone_said, "a batch gives other than its records")
    return reading


def _merge(shard: Any, reading: Reading) -> Counter[OutcomeKey]:
    if isinstance(shard, AlertShard):
        shard.keep(reading.reports)
        reports = shard.cut()
        shard.admit(shard.unknown(reports), {})
        return shard.merge(reports)
    shard.keep(SourcePartition(Topic.CONVERSATION, _SHARD), reading.facts, _SETTLED_BEFORE_MS)
    merged: Counter[OutcomeKey] = Counter()
    for portion in shard.cut():
        shard.admit(shard.unknown(portion.facts.keys), {})
        merged += shard.merge(portion)
    return merged


def _check_facts(checkpoint: Checkpoint, readings: Iterable[Reading]) -> None:
    """What a checkpoint stores of a conversation must be loaded as the facts that were read of it."""
    sets: dict[str, FactSet] = defaultdict(FactSet)
    for reading in readings:
        for kafka_key, facts in facts_of(reading.facts).items():
            for fact in facts:
                sets[kafka_key.decode()].add(*fact)
    _expect(len(sets) == len(checkpoint.conversations), "conversations are missing")
    for row, chunk in zip(checkpoint.conversations, checkpoint.chunks, strict=True):
        name = f"{row.account_id}|{row.bot_id}|{row.conversation_id}"
        stored = StoredConversation(row.revision, row.settles_ms, row.record_ids, chunk.facts, chunk.strings)
        restored = Conversation.restored(name.encode(), stored)
        _expect(restored.facts.unpacked() == sets[name], f"other facts are stored than were read of {name!r}")


def _check_storable(rows: Iterable[Any], *times: str) -> None:
    """PostgreSQL must take every column: a checkpoint that it refuses would be refused for ever."""
    for row in rows:
        for name, found in zip(row._fields, row, strict=True):
            if isinstance(found, str):
                _expect(
                    "\0" not in found and _is_unicode(found), f"{name} is no text for PostgreSQL: {found!r}"
                )
            elif isinstance(found, int):
                most = _MAX_INTEGER if name in _INTEGERS else _MAX_BIGINT
                _expect(-most <= found <= most, f"{name} is out of range: {found}")
            if name in times and found is not None:
                _expect(0 <= found <= LATEST_MS, f"{name} is not kept exactly: {found}")


_INTEGERS = ("shard", "block", "user_messages", "bot_messages", "partition")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
