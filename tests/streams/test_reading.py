"""What comes of a record whose timestamp is no time, and of a batch beside each of its records alone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import LAST_TIME_MS, parse_time_ms
from schemas.reasons import Reason
from schemas.topics import Topic
from sinks.ledger import SourcePartition
from streams import reading
from streams.batches import Batch
from streams.reading import Contract, Reader, Reading
from tests.schemas.examples import (
    BAD,
    CLOSED,
    DELIVERED,
    ENDED,
    FAILED,
    GOOD,
    MESSAGE,
    STARTED,
    TIME_MS,
    changed,
)
from tests.streams.readings import said, taken_of

SOURCE = SourcePartition("conversation", 0)
CONTRACT = Contract(max_ahead_ms=300_000, max_age_ms=400 * 86_400_000)


@dataclass(frozen=True)
class DatedRecord:
    """A record with a key that fits `changed()`."""

    timestamp: int
    value: bytes
    offset: int = 0
    key: bytes = b"acme|sales|c-1"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def read(record: DatedRecord) -> Reading:
    reader = Reader(SOURCE, Topic.CONVERSATION, 1, CONTRACT, known=())
    return reader.read(Batch(SOURCE, 0, 1, [record], claim=1))


@pytest.mark.parametrize(
    ("timestamp_ms", "recorded_ms"),
    [
        (TIME_MS * 1_000_000, LAST_TIME_MS),  # a producer counted nanoseconds
        ((1 << 63) - 1, LAST_TIME_MS),
        (-(1 << 63), 0),
        (-1, 0),  # Kafka's word for none
    ],
)
def test_a_dead_letter_bears_the_nearest_time_that_can_be_stored(timestamp_ms: int, recorded_ms: int) -> None:
    (letter,) = read(DatedRecord(timestamp_ms, changed())).dead_letters
    assert letter.recorded_ms == recorded_ms


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("9999-12-31T23:59:59.999Z", Reason.TIME_AHEAD),  # does not fit into a stored fact
        ("2255-06-05T23:47:34.741Z", Reason.TIME_AHEAD),
        ("1969-12-31T23:59:59.999Z", Reason.TIME_BEHIND),
    ],
)
def test_an_event_whose_time_cannot_be_kept_is_refused_though_its_record_is_as_old(
    time: str, reason: Reason
) -> None:
    (letter,) = read(DatedRecord(parse_time_ms(time), changed(time=time))).dead_letters
    assert letter.reason == reason


MIXED_CONTRACT = Contract(300_000, 400 * 86_400_000, ignored_types=frozenset({"conversation.message.v2"}))
NAMES = ["c-1", "c-2", "c-3"]
TIMES = [
    *("2026-10-03T09:00:00.000Z", "2026-10-03T11:30:00.0009+02:30", "2026-10-03T09:00:00Z"),
    *(
        "2026-10-03T09:04:59.999Z",
        "2026-10-03T09:05:00.001Z",
        "2025-08-29T08:59:59.999Z",
        "1969-12-31T23:59:59.999Z",
    ),
    *(
        "2026-02-30T09:00:00.000Z",
        "0001-01-01T00:00:00.000+00:01",
        "2026-10-03T09:00:00.000",
        "9999-12-31T23:59:59Z",
    ),
]
VALUES = {
    topic: [
        None,
        changed(type="conversation.message.v2"),
        *(example.value for example in (*GOOD, *BAD) if len(example.value) < 5_000),
    ]
    for topic in Topic
}
KINDS = {
    Topic.CONVERSATION: [MESSAGE, MESSAGE, CLOSED],
    Topic.AGENT_HANDOFF: [STARTED, ENDED],
    Topic.ALERT_DELIVERY: [DELIVERED, DELIVERED, FAILED],
}


def events(topic: Topic) -> st.SearchStrategy[bytes]:
    """Events of a topic that are mostly good, and mostly of few conversations."""
    subject = "data__delivery_id" if topic is Topic.ALERT_DELIVERY else "data__conversation_id"
    authors = st.sampled_from(["user", "user", "bot", "agent"])
    return st.builds(
        lambda kind, name, author, rest, fields: changed(
            kind, **{subject: name}, **({"data__author": author} if kind == MESSAGE else {}), **rest, **fields
        ),
        st.sampled_from(KINDS[topic]),
        st.sampled_from(NAMES),
        authors,
        st.fixed_dictionaries(
            {
                "time": st.sampled_from(TIMES[:4] * 6 + TIMES),
                "id": st.sampled_from(["e-1", "e-2", "é", r"e\4"]),
            }
        ),
        st.fixed_dictionaries(
            {},
            optional={
                "data__user_id": st.sampled_from(["u-1", "u-2"]),
                "data__handoff_id": st.sampled_from(["h-1", "h-2"]),
                "data__developer": st.booleans(),
            },
        ),
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[Topic, int, list[DatedRecord]]:
    """A topic, its number of partitions, and records that may have come to the first of them."""
    topic, records = draw(st.sampled_from(Topic)), []
    values = st.one_of(events(topic), events(topic), events(topic), st.sampled_from(VALUES[topic]))
    for offset, value in enumerate(draw(st.lists(values, max_size=25))):
        keys = [f"acme|sales|{name}".encode() for name in NAMES]
        right = next((key for key in keys if f'"{key.decode()[11:]}"'.encode() in (value or b"")), keys[0])
        key = draw(st.sampled_from([right] * 12 + [*keys, None, b""]))
        timestamp_ms = TIME_MS + draw(st.sampled_from([0] * 20 + [-300_000, 1 << 50, -(1 << 62)]))
        records.append(DatedRecord(timestamp_ms, value, offset * 2, key))
    return topic, draw(st.sampled_from([1, 1, 1, 2])), records


def new_reader(topic: Topic, partitions: int, known: Any = ()) -> Reader:
    return Reader(SourcePartition(str(topic), 0), topic, partitions, MIXED_CONTRACT, known)


def batch_of(topic: Topic, records: Sequence[DatedRecord]) -> Batch:
    return Batch(SourcePartition(str(topic), 0), 0, 100, records, claim=1)


def read_batch(topic: Topic, partitions: int, records: Sequence[DatedRecord], known: Any = ()) -> Reading:
    return new_reader(topic, partitions, known).read(batch_of(topic, records))


@pytest.mark.parametrize("chunk_records", [1, 3, reading.CHUNK_RECORDS])
@settings(max_examples=300, deadline=None)
@given(batches())
def test_a_batch_gives_what_its_records_give_alone(chunk_records: int, batch) -> None:
    topic, partitions, records = batch
    taken: dict[bytes, list[Any]] = defaultdict(list)
    outcomes: Counter = Counter()
    letters, newest_ms = [], 0
    for record in records:
        its_taken, its_outcomes, its_letters, its_newest_ms = said(read_batch(topic, partitions, [record]))
        assert sum(map(len, its_taken.values())) + its_outcomes.total() == 1
        for key, some in its_taken.items():
            taken[key] += some
        outcomes += its_outcomes
        letters += its_letters
        newest_ms = max(newest_ms, its_newest_ms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_RECORDS", chunk_records)
        assert said(read_batch(topic, partitions, records)) == (taken, outcomes, letters, newest_ms)


@settings(max_examples=100, deadline=None)
@given(batches())
def test_keys_that_are_known_to_lie_here_change_nothing(batch) -> None:
    topic, partitions, records = batch
    first = read_batch(topic, partitions, records)
    assert said(read_batch(topic, partitions, records, taken_of(first))) == said(first)


@settings(max_examples=100, deadline=None)
@given(batches(), st.booleans())
def test_a_batch_gives_the_same_after_another_one_like_it(batch, forget: bool) -> None:
    topic, partitions, records = batch
    reader = new_reader(topic, partitions)
    first = reader.read(batch_of(topic, records))
    if forget:
        reader.forget_groups()
    assert said(reader.read(batch_of(topic, records))) == said(first)
