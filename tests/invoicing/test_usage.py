"""Usage of a period: used, left, beyond and forecast."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.model import Basis, LineKind, SessionKind, Slice, Span, Terms, Tier
from invoicing.rating import rate
from invoicing.usage import Count, Usage, forecast, usage

USAGE, ALERT = SessionKind.USAGE, SessionKind.ALERT
DAY_MS = 86_400_000
MONTH = Span(0, 30 * DAY_MS)


def a_slice(during=MONTH, included=100, bot_id="sales", is_trial=False):
    terms = Terms(
        plan_id="standard",
        version=1,
        currency="EUR",
        unit="month",
        price_minor=0,
        included={USAGE: included, ALERT: 0},
        tiers=dict.fromkeys(SessionKind, (Tier(None, Decimal("0.20")),)),
    )
    return Slice(bot_id, terms, during, MONTH, is_trial)


def test_a_period_in_its_middle():
    assert usage([Count(a_slice(), {USAGE: 120, ALERT: 3}, {USAGE: 2})], 10 * DAY_MS) == [
        Usage("sales", USAGE, used=120, open=2, allowance=100, left=0, beyond=20, forecast=360),
        Usage("sales", ALERT, used=3, open=0, allowance=0, left=0, beyond=3, forecast=9),
    ]


def test_after_a_change_of_plan_only_the_current_allowance_has_anything_left():
    counts = [
        Count(a_slice(Span(0, 15 * DAY_MS), included=100), {USAGE: 10}, {USAGE: 2}),
        Count(a_slice(Span(15 * DAY_MS, 30 * DAY_MS), included=1000), {USAGE: 20}, {USAGE: 1}),
    ]
    assert usage(counts, 20 * DAY_MS)[0] == Usage(
        "sales", USAGE, used=30, open=3, allowance=550, left=480, beyond=0, forecast=45
    )


def test_going_beyond_one_slice_is_not_made_good_by_another():
    counts = [
        Count(a_slice(Span(0, 15 * DAY_MS)), {USAGE: 60}, {}),
        Count(a_slice(Span(15 * DAY_MS, 30 * DAY_MS)), {USAGE: 20}, {}),
    ]
    found = usage(counts, 20 * DAY_MS)[0]
    assert (found.allowance, found.left, found.beyond) == (100, 30, 10)


def test_nothing_is_beyond_in_a_trial():
    found = usage([Count(a_slice(is_trial=True), {USAGE: 120}, {})], 10 * DAY_MS)[0]
    assert (found.left, found.beyond) == (0, 0)


def test_bots_are_told_apart_and_stand_in_order():
    counts = [Count(a_slice(bot_id="b"), {USAGE: 1}, {}), Count(a_slice(bot_id="a"), {USAGE: 2}, {})]
    found = [(one.bot_id, one.kind, one.used) for one in usage(counts, DAY_MS)]
    assert found == [("a", USAGE, 2), ("a", ALERT, 0), ("b", USAGE, 1), ("b", ALERT, 0)]


def test_nobody_has_used_anything_of_no_bots():
    assert usage([], DAY_MS) == []


@pytest.mark.parametrize(
    ("used", "at_ms", "expected"),
    [
        (10, 0, None),
        (10, -DAY_MS, None),
        (10, 999, None),
        (1, 1000, 2_592_000),
        (0, DAY_MS, 0),
        (1, 29 * DAY_MS, 2),
        (10, 15 * DAY_MS, 20),
        (10, 30 * DAY_MS, 10),
        (10, 90 * DAY_MS, 10),
    ],
)
def test_the_forecast_goes_on_as_until_now_and_is_rounded_up(used, at_ms, expected):
    assert forecast(used, MONTH, at_ms) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 10), st.booleans()), min_size=1, max_size=5))
def test_usage_agrees_with_what_is_rated(parts):
    counts, start = [], 0
    for sessions, days, is_trial in parts:
        during = Span(start, start + days * DAY_MS // 2)
        counts.append(Count(a_slice(during, is_trial=is_trial), {USAGE: sessions}, {}))
        start = during.to_ms
    found = usage(counts, start)[0]
    lines = [line for count in counts for line in rate(count.slice, count.used, Decimal(0))]
    sold = [line.quantity for line in lines if line.basis is Basis.TIER]
    assert found.used == sum(line.quantity for line in lines if line.kind is LineKind.USAGE)
    assert found.beyond == sum(sold)
    assert found.forecast >= found.used
