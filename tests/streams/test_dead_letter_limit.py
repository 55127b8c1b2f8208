"""The limit on dead letters: runs, shares, what is kept of them, and what an operator has accepted."""

from collections.abc import Iterable

import pytest

from sinks.ledger import DeadLetterRow, LimitCounts, Position, SourcePartition
from streams.batches import Batch
from streams.dead_letter_limit import WINDOW_RECORDS, DeadLetterLimit, TooManyDeadLetters
from tests.simulation.kafka import LogRecord

AT_START = Position(0, 0)
SOURCE = SourcePartition("conversation", 3)


def limit(position: Position = AT_START, share: float = 1.0, run: int = 1_000) -> DeadLetterLimit:
    return DeadLetterLimit(SOURCE, position, share, run)


def read(watch: DeadLetterLimit, offsets: Iterable[int], bad: Iterable[int]) -> LimitCounts:
    """Count a batch of these records, of which those are bad; return what is counted by then."""
    records = [LogRecord(offset, 0, None, None) for offset in offsets]
    start, end = (records[0].offset, records[-1].offset + 1) if records else (0, 0)
    letters = [DeadLetterRow(SOURCE, offset, "not_json", "", "", None, None, 0) for offset in bad]
    watch.count(Batch(SOURCE, start, end, records, 1), letters)
    return watch.counts()


def test_a_run_goes_on_over_the_ends_of_batches_and_ends_at_a_good_record() -> None:
    watch = limit()
    assert read(watch, range(5), [0, 3, 4]).run == 2
    assert read(watch, range(5, 8), [5, 6, 7]).run == 5
    assert read(watch, [], []).run == 5
    assert read(watch, range(8, 10), [8]).run == 0


def test_offsets_that_hold_no_record_do_not_end_a_run() -> None:
    watch = limit()
    assert read(watch, range(0, 10, 2), [4, 6, 8]).run == 3
    assert read(watch, range(10, 20, 2), [10, 12, 14, 16, 18]).run == 8


def test_a_run_of_the_limit_stops_and_one_less_does_not() -> None:
    read(limit(run=5), range(4), range(4))
    with pytest.raises(
        TooManyDeadLetters, match=r"partition 3: 5 dead letters in a row .*at offset 4: not_json"
    ):
        read(limit(run=5), range(9), range(9))


@pytest.mark.parametrize(("bad", "stops"), [(1_000, False), (1_001, True)])
def test_a_share_above_the_limit_stops_at_the_end_of_a_window(bad: int, stops: bool) -> None:
    watch = limit(share=0.1)
    read(watch, range(WINDOW_RECORDS - 1), range(0, 2 * bad, 2))
    if stops:
        with pytest.raises(TooManyDeadLetters, match="1001 of 10000 records are dead letters"):
            read(watch, [WINDOW_RECORDS], [])
    else:
        assert read(watch, [WINDOW_RECORDS], []) == LimitCounts()


def test_who_goes_on_from_what_was_saved_stops_where_one_that_never_ended_would() -> None:
    first = limit(run=10)
    counts = read(first, range(7), range(3, 7))
    second = limit(Position(7, 0, counts), run=10)
    assert read(second, range(7, 12), range(7, 12)).run == 9
    with pytest.raises(TooManyDeadLetters):
        read(second, [12], [12])


def test_what_was_accepted_does_not_count_and_what_follows_does() -> None:
    watch = limit(Position(0, 0, LimitCounts(9, 9_999, 9_999), accepted_offset=50), share=0.1, run=10)
    assert read(watch, range(40), range(40)) == LimitCounts()
    assert read(watch, range(40, 60), range(40, 59)) == LimitCounts(0, 10, 9)
    with pytest.raises(TooManyDeadLetters):
        read(watch, range(60, 70), range(60, 70))


def test_the_message_names_the_way_on() -> None:
    with pytest.raises(TooManyDeadLetters, match="dead-letters accept --topic conversation --until now"):
        read(limit(run=1), [0], [0])
