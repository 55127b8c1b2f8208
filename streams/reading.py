"""From a batch's records to facts: each gets its outcome or its place among them (rule page, section 1).

Pure. This is the hot path: what is common is done for a whole batch at once, by columns. Records that differ
in nothing but identity and time are one group: what depends on the rest is worked out once a group, and
kept from batch to batch until a checkpoint takes them.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from schemas.decode import LAST_TIME_MS, Rejected, check_clock, check_key, check_partition, decode
from schemas.many import OrdinaryEvent, decode_many, ordinary_form
from schemas.outcomes import Outcome
from schemas.reasons import Reason
from schemas.salvage import account_of, replay_of
from schemas.times import parse_time_ms, parse_times_ms
from schemas.topics import Topic, join_key, partitions_of
from sessionizer.alerts import Report
from sessionizer.facts import digests_of
from sessionizer.intake import REPORTED, kind_of
from sessionizer.packed import FACT, Ints, Origins, ReadFacts, pack
from sinks.ledger import DeadLetterRow, OutcomeKey, SourcePartition
from streams.batches import Batch, Record
from streams.sealing import OldFacts

CHUNK_RECORDS = 256
"""Decoded at a time: what they hold should fit into a processor's own cache. 4,000 take a tenth longer."""
_MOST_GROUPS = 8_000
# In the place of a kind of fact.
_NOT_BILLED = {Outcome.TEST_TRAFFIC: -1, Outcome.UNBILLED: -2}


@dataclass(frozen=True, slots=True)
class Contract:
    """The bounds that a deployment sets on what it reads (settings MAX_AHEAD, MAX_AGE, IGNORED_TYPES)."""

    max_ahead_ms: int
    max_age_ms: int
    ignored_types: frozenset[str] = frozenset()


@dataclass(slots=True)
class Reading:
    """What a batch said: facts, or reports by Kafka key, and the outcome of every record that is neither."""

    facts: ReadFacts = field(default_factory=lambda: ReadFacts(np.empty(0, FACT), Origins()))
    reports: defaultdict[bytes, list[Report]] = field(default_factory=lambda: defaultdict(list))
    outcomes: Counter[OutcomeKey] = field(default_factory=Counter)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    newest_ms: int = 0
    old: OldFacts | None = None
    """Facts that must be looked up before it is known whether they count."""


class _Groups(dict[Any, int]):
    """Numbers from 0 for the data of events, as asked for, and what follows from each."""

    def __init__(self, topic: Topic) -> None:
        super().__init__()
        self.origins = Origins()
        self.kinds = array("b")
        """The kind of fact that such events are, 0 for a report, below 0 for none."""
        self.astray: set[bytes] = set()
        """Kafka keys that belong into another partition."""
        self._topic = topic

    def __missing__(self, data: Any) -> int:
        number = self[data] = len(self)
        of_alerts = self._topic is Topic.ALERT_DELIVERY
        subject_id = data.delivery_id if of_alerts else data.conversation_id
        self.origins.keys.append(join_key(data.account_id, data.bot_id, subject_id))
        self.origins.lines.append(f"{data.handoff_id or ''}|{data.user_id}|{data.channel}")
        if data.developer:
            kind = _NOT_BILLED[Outcome.TEST_TRAFFIC]
        elif of_alerts:
            kind = 0 if data.type == REPORTED else _NOT_BILLED[Outcome.UNBILLED]
        else:
            billed = kind_of(data.type, data.author)
            kind = _NOT_BILLED[Outcome.UNBILLED] if billed is None else billed
        self.kinds.append(kind)
        return number


@dataclass(slots=True)
class _Rows:
    """The records that are not rejected yet, by columns."""

    records: list[Record]
    groups: Ints
    """The number of each one's group."""
    times_ms: Ints
    identities: NDArray[np.uint64]
    keys: list[bytes | None]
    have_right_keys: bool
    stamps_ms: list[int]
    """As the records have them."""

    def drop(self, places: Sequence[int] | Ints) -> None:
        if not len(places):
            return
        keep = np.ones(len(self.records), bool)
        keep[places] = False
        self.records = list(compress(self.records, keep))
        self.groups, self.times_ms = self.groups[keep], self.times_ms[keep]
        self.identities = self.identities[keep]
        self.keys = list(compress(self.keys, keep))
        self.stamps_ms = list(compress(self.stamps_ms, keep))


class Reader:
    """Reads the batches of one source partition; keys in `known` need no check of their partition."""

    def __init__(
        self,
        source: SourcePartition,
        topic: Topic,
        partitions: int,
        contract: Contract,
        known: Container[bytes],
    ) -> None:
        self._source = source
        self._topic = topic
        self._partitions = partitions
        self._contract = contract
        self._known = known
        self._groups = _Groups(topic)
        self.old_ms = -1
        """Facts at or before this time may be older than a seal."""

    def forget_groups(self) -> None:
        """Let go of what is kept for events like those read, now that a checkpoint takes these."""
        self._groups = _Groups(self._topic)

    def read(self, batch: Batch) -> Reading:
        """Read every record of a batch; none can make it fail."""
        if len(self._groups) > _MOST_GROUPS:
            self.forget_groups()
        reading, groups, seen_groups = Reading(), self._groups, len(self._groups)
        rows = self._decode(batch.records, reading)
        self._check_clocks(rows, reading)
        self._check_partitions(groups.origins.keys[seen_groups:])
        self._check_keys(rows, reading)
        reading.dead_letters.sort(key=attrgetter("offset"))  # whose limit counts those in a row
        if not rows.records:
            return reading
        reading.newest_ms = int(rows.times_ms.max())
        kinds = np.frombuffer(groups.kinds, np.int8)[rows.groups]
        for outcome, kind in _NOT_BILLED.items():
            if count := int(np.count_nonzero(kinds == kind)):
                reading.outcomes[OutcomeKey(self._source, outcome, "")] += count
        billed = kinds >= 0
        numbers, times_ms = rows.groups[billed], rows.times_ms[billed]
        if self._topic is Topic.ALERT_DELIVERY:
            for group, time_ms in zip(numbers.tolist(), times_ms.tolist(), strict=True):
                _, user_id, channel = groups.origins.lines[group].split("|")
                reading.reports[groups.origins.keys[group]].append(Report(time_ms, user_id, channel))
        else:
            facts = pack(times_ms, kinds[billed], rows.identities[billed], numbers)
            is_old = times_ms <= self.old_ms
            if is_old.any():
                records = list(compress(compress(rows.records, billed), is_old))
                reading.old = OldFacts(ReadFacts(facts[is_old], groups.origins), records)
                facts = facts[~is_old]
            reading.facts = ReadFacts(facts, groups.origins)
        return reading

    def _decode(self, records: Sequence[Record], reading: Reading) -> _Rows:
        """The records that are events.

        Whatever looks at each of them does so while its chunk is at hand: later it is far away in memory.
        """
        key_of = self._groups.origins.keys
        kept: list[Record] = []
        groups: list[int] = []
        times: list[str] = []
        lengths: list[int] = []
        digests: list[bytes] = []
        right = True
        keys: list[bytes | None] = []
        stamps_ms: list[int] = []
        for at in range(0, len(records), CHUNK_RECORDS):
            chunk = records[at : at + CHUNK_RECORDS]
            events, left = decode_many([record.value for record in chunk], self._topic)
            for place in left:
                try:
                    events[place] = ordinary_form(decode(chunk[place].value, self._topic)[0])
                except Rejected as rejected:
                    self._reject(chunk[place], rejected, reading)
            if left:
                chunk = [record for record, event in zip(chunk, events, strict=True) if event]
            read = [event for event in events if event] if left else cast("list[OrdinaryEvent]", events)
            kept += chunk
            stamps_ms += [record.timestamp for record in chunk]
            its_groups = [*map(self._groups.__getitem__, [event.data for event in read])]
            its_keys = [record.key for record in chunk]
            right &= its_keys == [key_of[group] for group in its_groups]
            groups += its_groups
            keys += its_keys
            its_times = [event.time for event in read]
            times.append("".join(its_times))
            lengths += map(len, its_times)
            digests.append(b"".join(digests_of([f"{event.source}|{event.id}" for event in read])))
        text = "".join(times)
        times_ms, left = parse_times_ms(text, lengths)
        identities = np.frombuffer(b"".join(digests), ">u8")
        rows = _Rows(kept, np.array(groups, np.int64), times_ms, identities, keys, right, stamps_ms)

        if left:
            ends = np.cumsum(lengths)

            def read_time(place: int) -> None:
                times_ms[place] = parse_time_ms(text[ends[place] - lengths[place] : ends[place]])

            self._check(left, rows, reading, read_time)
        return rows

    def _check_clocks(self, rows: _Rows, reading: Reading) -> None:
        if not rows.records:
            return
        oldest_ms, newest_ms = int(rows.times_ms.min()), int(rows.times_ms.max())
        ahead_ms, age_ms = self._contract.max_ahead_ms, self._contract.max_age_ms
        if (
            newest_ms - min(rows.stamps_ms) > ahead_ms
            or max(rows.stamps_ms) - oldest_ms > age_ms
            or oldest_ms < 0
            or newest_ms > LAST_TIME_MS
        ):
            times_ms, stamps_ms = rows.times_ms.tolist(), rows.stamps_ms

            def check(place: int) -> None:
                check_clock(times_ms[place], stamps_ms[place], ahead_ms, age_ms)

            self._check(range(len(times_ms)), rows, reading, check)

    def _check_partitions(self, keys: Iterable[bytes]) -> None:
        """Find out which of the keys of new groups do not belong into this partition."""
        new = [key for key in set(keys) if key not in self._known]
        for key, partition in zip(new, partitions_of(new, self._partitions), strict=True):
            if partition != self._source.partition:
                self._groups.astray.add(key)

    def _check_keys(self, rows: _Rows, reading: Reading) -> None:
        keys, astray = self._groups.origins.keys, self._groups.astray
        if astray or not rows.have_right_keys:
            right, given = [keys[group] for group in rows.groups.tolist()], rows.keys

            def check(place: int) -> None:
                check_key(right[place], given[place])
                if right[place] in astray:
                    check_partition(right[place], self._source.partition, self._partitions)

            self._check(range(len(right)), rows, reading, check)

    def _check(
        self, places: Iterable[int], rows: _Rows, reading: Reading, check: Callable[[int], None]
    ) -> None:
        """Reject the rows at those places at which the check raises `Rejected`, and drop them."""
        failed = []
        for place in places:
            try:
                check(place)
            except Rejected as rejected:
                self._reject(rows.records[place], rejected, reading)
                failed.append(place)
        rows.drop(failed)

    def _reject(self, record: Record, rejected: Rejected, reading: Reading) -> None:
        if rejected.reason is Reason.UNKNOWN_TYPE and _type_of(record.value) in self._contract.ignored_types:
            reading.outcomes[OutcomeKey(self._source, Outcome.UNBILLED, "")] += 1
            return
        reading.outcomes[dead_letter_key(self._source, rejected)] += 1
        reading.dead_letters.append(dead_letter(self._source, record, rejected))


def dead_letter_key(source: SourcePartition, rejected: Rejected) -> OutcomeKey:
    """What a rejected record is counted under."""
    return OutcomeKey(source, Outcome.DEAD_LETTER, rejected.reason.value)


def dead_letter(source: SourcePartition, record: Record, rejected: Rejected) -> DeadLetterRow:
    """A rejected record, as it is kept."""
    return DeadLetterRow(
        *(source, record.offset, rejected.reason.value, rejected.field, rejected.detail),
        *(record.key, record.value, _storable_ms(record.timestamp)),
        account_of(record.key, record.value),
        replay_of(record.headers),
    )


def _storable_ms(timestamp_ms: int) -> int:
    """The nearest time that the ledger can keep, lest a dead letter could never be saved.

    Records from before a topic was dated by the broker bear whatever their producers called milliseconds.
    """
    return max(0, min(timestamp_ms, LAST_TIME_MS))


def _type_of(value: bytes | None) -> object:
    return json.loads(value or b"{}").get("type")
