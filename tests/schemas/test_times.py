"""RFC 3339 text to integer milliseconds and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.reasons import Reason, Rejected
from schemas.times import format_time_ms, parse_time_ms
from tests.schemas.examples import NOT_TIMES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999

moments = st.datetimes(timezones=st.just(UTC))
offsets = st.integers(-(24 * 60 - 1), 24 * 60 - 1)


def by_definition_ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


@given(moments)
def test_what_datetime_writes_is_read(moment: datetime) -> None:
    assert parse_time_ms(moment.isoformat()) == by_definition_ms(moment)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)), offsets)
def test_every_offset_gives_the_same_moment(moment: datetime, offset: int) -> None:
    local = moment.astimezone(timezone(timedelta(minutes=offset)))
    assert parse_time_ms(local.isoformat()) == by_definition_ms(moment)


@given(st.integers(FIRST_MS, LAST_MS))
def test_what_is_written_is_read_back(time_ms: int) -> None:
    assert parse_time_ms(format_time_ms(time_ms)) == time_ms


@given(st.integers(FIRST_MS, LAST_MS), st.integers(FIRST_MS, LAST_MS))
def test_texts_sort_as_their_times_do(one_ms: int, other_ms: int) -> None:
    assert (format_time_ms(one_ms) < format_time_ms(other_ms)) == (one_ms < other_ms)


@given(st.text("0123456789", min_size=1, max_size=30))
def test_a_fraction_is_cut_off_and_never_rounded(digits: str) -> None:
    assert parse_time_ms(f"1970-01-01T00:00:00.{digits}Z") == int((digits + "00")[:3])


@pytest.mark.parametrize("text", NOT_TIMES.values(), ids=NOT_TIMES)
def test_what_is_no_time_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_time_ms(text)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_TIME, "time")


def test_a_text_is_refused_again_after_its_neighbours_were_read() -> None:
    """The caches hold no refusal and no half of one."""
    for text in ("2026-02-30T09:00:00.000Z", "2026-10-03T09:00:60.000Z"):
        for _ in range(2):
            with pytest.raises(Rejected):
                parse_time_ms(text)
            parse_time_ms("2026-10-03T09:00:00.000Z")


def test_the_first_and_last_millisecond_are_read_and_written() -> None:
    for time_ms, text in {
        FIRST_MS: "0001-01-01T00:00:00.000Z",
        LAST_MS: "9999-12-31T23:59:59.999Z",
        0: "1970-01-01T00:00:00.000Z",
        -1: "1969-12-31T23:59:59.999Z",
    }.items():
        assert parse_time_ms(text) == time_ms
        assert format_time_ms(time_ms) == text


@pytest.mark.parametrize("time_ms", [FIRST_MS - 1, LAST_MS + 1, 10**40, -(10**40)])
def test_a_time_that_no_year_of_four_digits_holds_is_not_written(time_ms: int) -> None:
    with pytest.raises(ValueError, match="0001 to 9999"):
        format_time_ms(time_ms)
