"""RFC 3339 text to integer milliseconds and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.reasons import Reason, Rejected
from schemas.times import format_time_ms, parse_time_ms, parse_times_ms
from tests.schemas.examples import NOT_TIMES, TIME, TIME_MS

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


ordinary_times = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: format_time_ms(by_definition_ms(moment))
)
numbers = st.sampled_from(
    ["00", "01", "02", "04", "12", "13", "23", "24", "28", "29", "30", "31", "59", "60", "99"]
)
ends = st.sampled_from(
    [
        *(
            "Z",
            "z",
            "",
            "+00:00",
            "-00:00",
            "+02:30",
            "-23:59",
            "+23:59",
            "+24:00",
            "+12:60",
            "+1:00",
            "+0100",
        ),
        *("9Z", "999999Z", "00000+05:30", "x", "ZZ", " Z", "Z ", "\n", "+", "9" * 40, "٠Z", "Z٠", "+0٠:00"),
    ]
)
fractions = st.sampled_from(
    [".000", ".001", ".999", ".5", ".12", ".", "", ",000", ".0000", ".00x", ".-01", ".٠٠٠"]
)
years = st.sampled_from(
    ["0000", "0001", "1900", "1969", "1970", "2000", "2023", "2024", "2255", "9999", "٢٠٢٤"]
)
near_times = st.builds(
    lambda year, month, day, hour, minute, second, fraction, end: (
        f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction}{end}"
    ),
    *(years, numbers, numbers, numbers, numbers, numbers, fractions, ends),
)
nearest_times = st.builds(  # of the common form: one character of it is another
    lambda time, place, character, end: time[:place] + character + time[place + 1 : 23] + end,
    *(ordinary_times, st.integers(0, 22), st.sampled_from("0123459-:.T tZ/x٠\0"), ends),
)
offset_times = st.builds(lambda time, end: time[:23] + end, ordinary_times, ends)
time_texts = st.one_of(
    *(ordinary_times, offset_times, nearest_times, near_times),
    st.text("0123456789-:.TZ+ ٠", max_size=30) | st.text(max_size=30),
)


def one_by_one(texts: list[str]) -> list[int | None]:
    found: list[int | None] = []
    for text in texts:
        try:
            found.append(parse_time_ms(text))
        except Rejected:
            found.append(None)
    return found


def check_together(texts: list[str]) -> list[int]:
    """What is read together is read as one by one; return the places left."""
    times_ms, left = parse_times_ms("".join(texts), [*map(len, texts)])
    assert len(times_ms) == len(texts) and left == sorted(set(left))
    assert all(0 <= place < len(texts) for place in left)
    for place, time_ms in enumerate(one_by_one(texts)):
        assert place in left or times_ms[place] == time_ms, texts[place]
    return left


@settings(max_examples=1000)
@given(st.lists(time_texts, max_size=12))
@example(["0001-01-01T00:00:00.000+00:01", TIME])
@example(["9999-12-31T23:59:59.999-00:01", TIME])
@example(["2026-10-03T09:00:60.000Z", TIME])
@example(["2023-02-29T00:00:00.000Z", "2024-02-29T00:00:00.000Z"])
@example(["2026-10-03T09:00:00.000", TIME])
@example(["", TIME])
@example(["٠" + "0" * 23 + "2", "026-10-03T09:00:00.000ZZ"])  # in bytes, a time begins one sooner
def test_times_read_together_are_read_as_one_by_one_or_left(texts: list[str]) -> None:
    check_together(texts)


@settings(max_examples=500)
@given(time_texts)
def test_a_time_read_alone_is_read_as_by_itself_or_left(text: str) -> None:
    check_together([text])


@given(st.lists(ordinary_times, max_size=30))
def test_no_time_of_the_common_form_is_left(texts: list[str]) -> None:
    assert check_together(texts) == []
    assert check_together([*texts, TIME.replace("Z", "+00:00"), TIME.replace("Z", "9-05:30")]) == []
    assert check_together(["2026-10-03T24:00:00.000Z", *texts, "2026-10-03T09:00:00.000z"]) == [
        0,
        len(texts) + 1,
    ]


@pytest.mark.parametrize("text", NOT_TIMES.values(), ids=NOT_TIMES)
def test_what_is_no_time_is_left_among_others(text: str) -> None:
    assert 1 in check_together([TIME, text, TIME])
    assert parse_times_ms(TIME, [len(TIME)])[0].tolist() == [TIME_MS]
