"""Time zones and boundaries: the cases written by hand, and what holds for every anchor and zone."""

import tomllib
import zoneinfo
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.errors import InvoicingError
from invoicing.model import Span
from invoicing.periods import anchor_wall, boundaries, boundary, days, next_boundary, zone_at
from invoicing.zones import zone

CASES = tomllib.loads((Path(__file__).parent / "calendar_cases.toml").read_text(encoding="utf-8"))["case"]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)

zones = st.sampled_from(ZONES)
units = st.sampled_from(["month", "year"])
seconds = st.integers(0, 4_000_000_000).map(lambda second: second * 1000)


def ms(text):
    return int(datetime.fromisoformat(text).timestamp()) * 1000


def local(at_ms, name):
    return datetime.fromtimestamp(at_ms // 1000, zone(name)).replace(tzinfo=None)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_boundaries_are_those_written_by_hand(case):
    expected = [ms(text) for text in case["boundaries"]]
    moves = ((expected[0], case["zone"]), *((ms(m["at"]), m["zone"]) for m in case.get("moves", [])))
    assert list(islice(boundaries(expected[0], case["unit"], moves), len(expected))) == expected


def test_the_first_zone_is_that_of_the_time_before_it_too():
    moves = ((100, "UTC"), (200, "Asia/Tokyo"))
    assert [zone_at(moves, at) for at in (0, 100, 199, 200, 10**12)] == [*["UTC"] * 3, *["Asia/Tokyo"] * 2]


def test_an_anchor_at_the_second_half_past_two_stays_and_the_next_boundaries_are_first_ones():
    anchor = ms("2025-10-26T01:30:00Z")
    first, second = islice(boundaries(anchor, "year", ((0, "Europe/Berlin"),)), 2)
    assert (first, second) == (anchor, ms("2026-10-26T01:30:00Z"))


@settings(deadline=None)
@given(anchor=seconds, unit=units, name=zones, other=zones, moved=seconds)
def test_boundaries_grow_whatever_zones_do_and_accounts_move(anchor, unit, name, other, moved):
    found = list(islice(boundaries(anchor, unit, ((0, name), (moved, other))), 30))
    # A zone can change sides of the date line, and an account can move across it: each takes a day or so.
    shortest = 25 * DAY_MS if unit == "month" else 362 * DAY_MS
    assert found[0] == anchor
    assert all(end - start >= shortest for start, end in pairwise(found))


@settings(deadline=None)
@given(anchor=seconds, name=zones, years=st.integers(1, 20))
def test_a_year_of_months_ends_where_the_year_does(anchor, name, years):
    moves = ((0, name),)
    by_month = list(islice(boundaries(anchor, "month", moves), 12 * years + 1))
    assert by_month[12::12] == list(islice(boundaries(anchor, "year", moves), years + 1))[1:]


@settings(deadline=None)
@given(anchor=seconds, name=zones, k=st.integers(1, 240))
def test_nothing_drifts_the_clock_shows_the_anchors_time_wherever_it_exists(anchor, name, k):
    wall = anchor_wall(anchor, zone(name))
    shown = local(boundary(wall, "month", k, zone(name)), name)
    months = (shown.year * 12 + shown.month) - (wall.year * 12 + wall.month)
    if shown.time() == wall.time():
        assert months == k
        assert shown.day == wall.day or (shown + timedelta(days=1)).day == 1
    else:
        assert timedelta(0) < shown - _planned(wall, k) <= timedelta(days=1), "skipped: after the gap"


def _planned(wall, k):
    year, month = divmod(wall.year * 12 + wall.month - 1 + k, 12)
    first = wall.replace(year=year, month=month + 1, day=1)
    last = ((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day
    return first.replace(day=min(wall.day, last))


@settings(deadline=None)
@given(anchor=seconds, unit=units, name=zones, k=st.integers(0, 30))
def test_one_step_by_the_stored_wall_time_is_the_same_as_all_of_them(anchor, unit, name, k):
    moves = ((0, name),)
    start, end = islice(boundaries(anchor, unit, moves), k, k + 2)
    assert next_boundary(anchor_wall(anchor, zone(name)), unit, k, start, moves) == end


@settings(deadline=None)
@given(start=seconds, length=st.integers(0, 100 * DAY_MS), name=zones)
def test_days_tile_their_span_and_each_begins_on_a_new_date(start, length, name):
    span = Span(start, start + length)
    found = days(span, zone(name))
    edges = [span.from_ms, *(day.to_ms for day in found)]
    assert found == [Span(from_ms, to_ms) for from_ms, to_ms in pairwise(edges)]
    assert edges[-1] == span.to_ms
    dates = [local(day.from_ms, name).date() for day in found]
    assert dates == sorted(set(dates))


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"], 23),
        ("Europe/Berlin", ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"], 25),
        ("Australia/Lord_Howe", ["2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"], 24.5),
        ("Africa/Cairo", ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"], 23),
    ],
)
def test_a_day_is_as_long_as_the_clock_makes_it(name, day, hours):
    start, end = map(ms, day)
    around = Span(start - 36 * HOUR_MS, end + 36 * HOUR_MS)
    assert Span(start, end) in days(around, zone(name))
    assert end - start == hours * HOUR_MS


def test_the_day_that_apia_went_without_is_none():
    found = days(Span(ms("2011-12-29T10:00:00Z"), ms("2011-12-31T10:00:00Z")), zone("Pacific/Apia"))
    assert [str(local(day.from_ms, "Pacific/Apia").date()) for day in found] == ["2011-12-29", "2011-12-31"]


def test_no_day_begins_before_its_span_though_midnight_came_before_the_clock_went_back():
    span = Span(ms("2010-11-07T03:00:00Z"), ms("2010-11-08T03:00:00Z"))
    assert days(span, zone("America/St_Johns")) == [span]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Mars/Olympus",
        "europe/berlin",
        "Europe",
        "../zones",
        "/etc/localtime",
        "Europe/../UTC",
        "UTC\0",
        "zone.tab",
    ],
)
def test_an_unknown_zone_is_refused_by_name_and_no_name_leads_out_of_the_package(name):
    with pytest.raises(InvoicingError) as caught:
        zone(name)
    assert caught.value.code == "unknown_time_zone"
    assert repr(name) in str(caught.value)


@pytest.fixture
def berlin_is_utc_on_this_computer(tmp_path):
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes((files("tzdata") / "zoneinfo" / "UTC").read_bytes())
    zoneinfo.reset_tzpath(to=[tmp_path])
    yield
    zoneinfo.reset_tzpath()


@pytest.mark.usefixtures("berlin_is_utc_on_this_computer")
def test_zones_do_not_come_from_the_computer():
    noon = datetime(2026, 7, 1, 12)
    zone.cache_clear()
    assert zoneinfo.ZoneInfo.no_cache("Europe/Berlin").utcoffset(noon) == timedelta(0)
    assert zone("Europe/Berlin").utcoffset(noon) == timedelta(hours=2)
    assert zone("Europe/Berlin") is zone("Europe/Berlin")
