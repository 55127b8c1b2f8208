"""What is checked of a record around its value: clock, key and partition."""

import pytest

from schemas.decode import LAST_TIME_MS, Rejected, check_clock, check_key, check_partition
from schemas.reasons import MAX_DETAIL_CHARACTERS, Reason
from schemas.topics import partition_of
from sessionizer.facts import USER_MESSAGE, FactSet

AHEAD_MS = 5 * 60_000
AGE_MS = 400 * 86_400_000
NOW_MS = 1_791_018_000_000
KEY = b"acme|sales|c-1"


@pytest.mark.parametrize("distance_ms", [0, AHEAD_MS, -AGE_MS])
def test_a_time_at_a_limit_passes(distance_ms: int) -> None:
    check_clock(NOW_MS + distance_ms, NOW_MS, AHEAD_MS, AGE_MS)


@pytest.mark.parametrize(
    ("distance_ms", "reason", "detail"),
    [
        (AHEAD_MS + 1, Reason.TIME_AHEAD, "300001 ms ahead, at most 300000 are allowed"),
        (-AGE_MS - 1, Reason.TIME_BEHIND, "34560000001 ms behind, at most 34560000000 are allowed"),
    ],
)
def test_a_time_one_millisecond_past_a_limit_is_refused(
    distance_ms: int, reason: Reason, detail: str
) -> None:
    with pytest.raises(Rejected) as caught:
        check_clock(NOW_MS + distance_ms, NOW_MS, AHEAD_MS, AGE_MS)
    assert (caught.value.reason, caught.value.field, caught.value.detail) == (reason, "time", detail)


@pytest.mark.parametrize(
    ("time_ms", "reason"), [(LAST_TIME_MS + 1, Reason.TIME_AHEAD), (-1, Reason.TIME_BEHIND)]
)
def test_a_time_that_cannot_be_kept_is_refused_whatever_the_timestamp(time_ms: int, reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        check_clock(time_ms, time_ms, AHEAD_MS, AGE_MS)
    assert (caught.value.reason, caught.value.field) == (reason, "time")


@pytest.mark.parametrize("time_ms", [0, LAST_TIME_MS])
def test_the_first_and_the_last_time_pass_and_a_stored_fact_holds_them(time_ms: int) -> None:
    check_clock(time_ms, time_ms, AHEAD_MS, AGE_MS)
    facts = FactSet()
    facts.add(time_ms, USER_MESSAGE, 0, "", "u-1", "web")
    assert FactSet.load(*facts.take_chunk()) == facts


def test_the_right_key_passes() -> None:
    check_key(KEY, KEY)


@pytest.mark.parametrize(
    "key", [None, b"", b"acme|sales|c-2", KEY + b"\0", b"\xff\xfe", b"x" * 100_000, KEY.upper()]
)
def test_another_key_is_refused(key: bytes | None) -> None:
    with pytest.raises(Rejected) as caught:
        check_key(KEY, key)
    assert caught.value.reason is Reason.WRONG_KEY
    assert len(caught.value.detail) <= MAX_DETAIL_CHARACTERS
    assert caught.value.detail.isascii() and caught.value.detail.isprintable()


def test_only_the_partition_of_the_key_passes() -> None:
    right = partition_of(KEY, 8)
    check_partition(KEY, right, 8)
    for wrong in set(range(8)) - {right}:
        with pytest.raises(Rejected) as caught:
            check_partition(KEY, wrong, 8)
        assert caught.value.reason is Reason.WRONG_PARTITION
        assert caught.value.detail == f"partition {wrong}, expected {right} of 8"
