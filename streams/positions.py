"""Where the ledger stands in Kafka's logs, whether it can go on from there, and what giving that up means.

Pure: looks at neither. An offset the log does not hold, or one of another topic of the same name, must be
refused, because to go on there would leave events out of the bills in silence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sinks.ledger import SourcePartition, SourceTopic
from sinks.taking_over import PassOver, ReadAnew, TakeOver

LogRange = tuple[int, int]
"""The first offset of a log, and the one after its last."""

WAY_ON = (
    "Nothing was billed wrongly and nothing was saved. The way on: restore a newer backup of PostgreSQL, or "
    "have producers send the lost time again (safe: an event counts once, by its source and id) and then "
    "accept Kafka's logs as they are with `quarterhour positions --take-over`"
)


class State(StrEnum):
    """What a partition's log is to the ledger's offset."""

    OK = "ok"
    LOST = "lost"
    BEYOND = "beyond"
    OTHER_TOPIC = "other_topic"
    MISSING = "missing"


class TopicLogs(NamedTuple):
    """A topic as Kafka has it now, with the logs of its partitions."""

    topic_id: UUID | None
    ranges: Mapping[int, LogRange]


@dataclass(frozen=True, slots=True)
class Standing:
    """One source partition in the ledger and in Kafka; None for what either does not have."""

    source: SourcePartition
    ledger_offset: int | None
    log: LogRange | None
    state: State

    @property
    def gone(self) -> int | None:
        """How many offsets the ledger has not read and Kafka no longer holds, where that can be told."""
        if self.state is State.LOST and self.log and self.ledger_offset is not None:
            return self.log[0] - self.ledger_offset
        return 0 if self.state is State.OK else None

    @property
    def lag(self) -> int | None:
        """How many offsets of the log are to be read, where that can be told."""
        if self.log is None or self.state not in (State.OK, State.LOST):
            return None
        return self.log[1] - max(self.log[0], self.ledger_offset or 0)


def state_in(log: LogRange, offset: int | None) -> State:
    """Whether a log holds the ledger's offset; a partition that was never read has none."""
    if offset is None or log[0] <= offset <= log[1]:
        return State.OK
    return State.LOST if offset < log[0] else State.BEYOND


def why_refused(source: SourcePartition, offset: int, log: LogRange) -> str | None:
    """What to tell who cannot go on at this offset; None for who can."""
    place = f"{source.topic} partition {source.partition}: the ledger is at offset {offset} and Kafka's log"
    match state_in(log, offset):
        case State.LOST:
            gone = f"{log[0] - offset} offsets in between are gone from Kafka"
            return f"{place} begins at {log[0]}: {gone}. {WAY_ON}"
        case State.BEYOND:
            return f"{place} ends at {log[1]}: the topic was made anew or the log cut. {WAY_ON}"
    return None


def why_another(topic: str, found: UUID, known: UUID) -> str:
    """What to tell who finds another topic of the same name."""
    return (
        f"topic {topic} was deleted and created anew: its id in Kafka is {found} and was {known}, so the "
        f"ledger's offsets mean nothing in it. {WAY_ON}"
    )


def standings(
    names: Collection[str],
    known: Mapping[str, SourceTopic],
    offsets: Mapping[SourcePartition, int],
    found: Mapping[str, TopicLogs],
) -> list[Standing]:
    """Each partition of these topics that the ledger or Kafka has, in order of topic and number."""
    return [
        _standing(source, offsets.get(source), known.get(source.topic), found.get(source.topic))
        for source in _sources(names, known, offsets, found)
    ]


def take_over(
    rows: Sequence[Standing],
    known: Mapping[str, SourceTopic],
    found: Mapping[str, TopicLogs],
    moment: str,
) -> TakeOver:
    """How to go on with Kafka's logs as they are.

    A topic of which one partition is not what the ledger has read is read anew in all of them: others may
    only have grown past the ledger's offset. `moment` keeps apart what is set aside twice of one topic.
    """
    anew = {row.source.topic for row in rows if row.state in (State.OTHER_TOPIC, State.BEYOND)}
    touched = anew | {row.source.topic for row in rows if row.state is State.LOST}
    return TakeOver(
        seen={
            row.source: row.ledger_offset
            for row in rows
            if row.source.topic in touched and row.ledger_offset is not None
        },
        passed=[
            PassOver(row.source, row.log[0])
            for row in rows
            if row.state is State.LOST and row.source.topic not in anew and row.log
        ],
        anew=[_read_anew(topic, known.get(topic), found[topic], moment) for topic in sorted(anew)],
    )


def _sources(
    names: Collection[str],
    known: Mapping[str, SourceTopic],
    offsets: Mapping[SourcePartition, int],
    found: Mapping[str, TopicLogs],
) -> Iterator[SourcePartition]:
    for name in sorted(names):
        numbers = {source.partition for source in offsets if source.topic == name}
        if name in found:
            numbers |= found[name].ranges.keys()
        else:
            numbers |= set(range(known[name].partitions if name in known else 1))
        yield from (SourcePartition(name, number) for number in sorted(numbers))


def _standing(
    source: SourcePartition, offset: int | None, known: SourceTopic | None, found: TopicLogs | None
) -> Standing:
    log = found.ranges.get(source.partition) if found else None
    if found is None or log is None:
        return Standing(source, offset, None, State.MISSING)
    if known and known.topic_id not in (None, found.topic_id):
        return Standing(source, offset, log, State.OTHER_TOPIC)
    return Standing(source, offset, log, state_in(log, offset))


def _read_anew(topic: str, known: SourceTopic | None, found: TopicLogs, moment: str) -> ReadAnew:
    known_id = known.topic_id if known else None
    aside = f"{topic}@{known_id or 'unknown'}"  # no name of a topic can have an @
    if known_id == found.topic_id:
        aside += f"@{moment}"
    return ReadAnew(topic, found.topic_id, {number: log[0] for number, log in found.ranges.items()}, aside)
