"""What comes of a record whose timestamp is no time at all."""

from dataclasses import dataclass

import pytest

from schemas.decode import LAST_TIME_MS, parse_time_ms
from schemas.reasons import Reason
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
