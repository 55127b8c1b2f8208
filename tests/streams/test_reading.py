"""What comes of a record whose timestamp is no time at all."""

from dataclasses import dataclass

import pytest

from schemas.reasons import Reason
from schemas.times import FIRST_MS, LAST_MS
from schemas.topics import Topic
from sinks.ledger import SourcePartition
from streams.batches import Batch
from streams.reading import Contract, Reader, Reading
from tests.schemas.examples import TIME_MS, changed

SOURCE = SourcePartition("conversation", 0)
CONTRACT = Contract(max_ahead_ms=300_000, max_age_ms=400 * 86_400_000)


@dataclass(frozen=True)
class DatedRecord:
    """A record with a key that fits `changed()`."""

    timestamp: int
    value: bytes
    offset: int = 0
    key: bytes = b"acme|sales|c-1"


def read(record: DatedRecord) -> Reading:
    reader = Reader(SOURCE, Topic.CONVERSATION, 1, CONTRACT, known=())
    return reader.read(Batch(SOURCE, 0, 1, [record], claim=1))


@pytest.mark.parametrize(
    ("timestamp_ms", "recorded_ms"),
    [
        (TIME_MS * 1_000_000, LAST_MS),  # a producer counted nanoseconds
        ((1 << 63) - 1, LAST_MS),
        (-(1 << 63), FIRST_MS),
        (-1, -1),
    ],
)
def test_a_dead_letter_bears_the_nearest_time_that_can_be_stored(timestamp_ms: int, recorded_ms: int) -> None:
    (letter,) = read(DatedRecord(timestamp_ms, changed())).dead_letters
    assert letter.recorded_ms == recorded_ms


def test_an_event_of_a_year_that_no_fact_can_hold_is_refused_whatever_its_timestamp() -> None:
    (letter,) = read(DatedRecord(LAST_MS, changed(time="9999-12-31T23:59:59.999Z"))).dead_letters
    assert letter.reason == Reason.TIME_AHEAD
