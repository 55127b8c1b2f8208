"""Where the fuzz begins: good events, hostile ones, bad records, and every example of the contract."""

from __future__ import annotations

from quarterhour.lines import decode_line, topic_by_parsing
from quarterhour.traffic import traffic
from quarterhour.traffic.faults import FAULTS, spoil
from schemas.decode import Rejected
from schemas.topics import Topic
from tests.fuzz.inputs import MOST_VALUE_BYTES, Clock, Input
from tests.schemas.examples import BAD, GOOD

UNTIL_MS = 1_790_000_000_000


def corpus() -> list[Input]:
    """The inputs to begin with, the same on every machine; good ones come more often."""
    lines = [*traffic(60, 1, UNTIL_MS), *traffic(60, 1, UNTIL_MS, hostile=True)]
    good = [Input(_topic_of(line), line) for line in lines]
    good += [Input(example.topic, example.value) for example in GOOD]
    bad = [Input(example.topic, example.value) for example in BAD]
    spoilt = [spoil(lines[0], fault) for fault in FAULTS]
    dated = [
        Input(_topic_of(line), line, clock=Clock.EPOCH, timestamp_ms=UNTIL_MS) for line in (*lines, *spoilt)
    ]
    return [seed for seed in (*good * 3, *dated, *bad) if len(seed.value or b"") <= MOST_VALUE_BYTES]


def _topic_of(line: bytes) -> Topic:
    try:
        return decode_line(line)[2]
    except Rejected:
        return topic_by_parsing(line)
