"""Rating: examples reckoned by hand, and what holds for every slice."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoicing.errors import Held
from invoicing.model import Basis, Line, LineKind, SessionKind, Slice, Span, Terms, Tier
from invoicing.rating import allowance, rate, total, with_tax

USAGE, ALERT = SessionKind.USAGE, SessionKind.ALERT
DAY_MS = 86_400_000
THIRTY_DAYS = Span(0, 30 * DAY_MS)
NO_TAX = Decimal(0)
TIERS = (Tier(1000, Decimal("0.20")), Tier(5000, Decimal("0.15")), Tier(None, Decimal("0.1234")))


def terms(price=5000, usage=100, alert=1000, tiers=TIERS, currency="EUR"):
    return Terms(
        plan_id="standard",
        version=1,
        currency=currency,
        unit="month",
        price_minor=price,
        included={USAGE: usage, ALERT: alert},
        tiers=dict.fromkeys(SessionKind, tiers) if tiers else {},
    )


def a_slice(during=THIRTY_DAYS, whole=THIRTY_DAYS, is_trial=False, **money):
    return Slice("sales", terms(**money), during, whole, is_trial)


def brief(lines):
    return [(line.kind, line.basis, line.first, line.quantity, line.amount_minor) for line in lines]


def test_a_whole_period_costs_its_price_and_what_goes_beyond_its_allowance_tier_by_tier():
    lines = rate(a_slice(), {USAGE: 5_107, ALERT: 400}, NO_TAX)
    assert brief(lines) == [
        (LineKind.PRICE, Basis.PRICE, 0, 1, 5_000),
        (LineKind.USAGE, Basis.INCLUDED, 0, 100, 0),
        (LineKind.USAGE, Basis.TIER, 100, 1_000, 20_000),
        (LineKind.USAGE, Basis.TIER, 1_100, 4_000, 60_000),
        (LineKind.USAGE, Basis.TIER, 5_100, 7, 86),  # 7 * 12.34 = 86.38
        (LineKind.ALERT, Basis.INCLUDED, 0, 400, 0),
    ]
    assert [line.unit_price for line in lines] == [
        Decimal("50.00"),
        None,
        Decimal("0.20"),
        Decimal("0.15"),
        Decimal("0.1234"),
        None,
    ]


def test_every_line_names_its_bot_plan_time_and_tax():
    lines = rate(a_slice(), {USAGE: 5_107, ALERT: 1_001}, Decimal("19"))
    assert {(line.bot_id, line.plan, line.during, line.tax_percent) for line in lines} == {
        ("sales", ("standard", 1), THIRTY_DAYS, Decimal("19"))
    }


def test_price_and_allowance_are_by_the_second_and_tiers_are_not():
    third = Span(0, 10 * DAY_MS)
    lines = rate(a_slice(third, price=10_000, usage=100), {USAGE: 1_100}, NO_TAX)
    assert brief(lines) == [
        (LineKind.PRICE, Basis.PRICE, 0, 1, 3_333),
        (LineKind.USAGE, Basis.INCLUDED, 0, 34, 0),  # 33.3 rounded up
        (LineKind.USAGE, Basis.TIER, 34, 1_000, 20_000),
        (LineKind.USAGE, Basis.TIER, 1_034, 66, 990),
    ]
    assert lines[0].detail == "864000 of 2592000 seconds"


def test_a_second_more_is_a_share_more():
    at_a_half, after_it = Span(0, 15 * DAY_MS), Span(0, 15 * DAY_MS + 1000)
    of_all = {"price": 259_200_000, "usage": 2_592_000}
    assert rate(a_slice(at_a_half, **of_all), {}, NO_TAX)[0].amount_minor == 129_600_000
    assert rate(a_slice(after_it, **of_all), {}, NO_TAX)[0].amount_minor == 129_600_100
    assert allowance(a_slice(after_it, **of_all), USAGE) == 1_296_001


def test_half_a_minor_unit_is_rounded_up():
    assert rate(a_slice(Span(0, 15 * DAY_MS), price=4_999), {}, NO_TAX)[0].amount_minor == 2_500
    lines = rate(a_slice(usage=0, tiers=(Tier(None, Decimal("0.005")),)), {USAGE: 1}, NO_TAX)
    assert lines[-1].amount_minor == 1


def test_a_trial_is_free_however_much_was_used():
    assert brief(rate(a_slice(is_trial=True), {USAGE: 5_000, ALERT: 7}, NO_TAX)) == [
        (LineKind.PRICE, Basis.TRIAL, 0, 1, 0),
        (LineKind.USAGE, Basis.TRIAL, 0, 5_000, 0),
        (LineKind.ALERT, Basis.TRIAL, 0, 7, 0),
    ]


def test_beyond_the_allowance_of_a_plan_that_sells_none_sessions_stand_there_at_no_charge():
    assert brief(rate(a_slice(price=0, tiers=()), {USAGE: 101}, NO_TAX)) == [
        (LineKind.PRICE, Basis.PRICE, 0, 1, 0),
        (LineKind.USAGE, Basis.INCLUDED, 0, 100, 0),
        (LineKind.USAGE, Basis.BEYOND, 100, 1, 0),
    ]


def test_a_tier_may_be_free():
    lines = rate(a_slice(usage=0, tiers=(Tier(10, Decimal(0)), Tier(None, Decimal(1)))), {USAGE: 11}, NO_TAX)
    assert brief(lines)[1:] == [
        (LineKind.USAGE, Basis.TIER, 0, 10, 0),
        (LineKind.USAGE, Basis.TIER, 10, 1, 100),
    ]
    assert lines[1].unit_price == 0


def test_a_currency_without_minor_units():
    lines = rate(
        a_slice(price=500, usage=0, tiers=(Tier(None, Decimal("0.3")),), currency="JPY"), {USAGE: 5}, NO_TAX
    )
    assert [line.amount_minor for line in lines] == [500, 2]
    assert str(lines[0].unit_price) == "500"


@pytest.mark.parametrize(
    ("sessions", "code"),
    [(-1, "negative_quantity"), (10**9 + 1, "absurd_quantity"), (2**70, "absurd_quantity")],
)
@pytest.mark.parametrize("is_trial", [False, True])
def test_numbers_that_nobody_can_have_used_hold_the_invoice(sessions, code, is_trial):
    with pytest.raises(Held) as caught:
        rate(a_slice(is_trial=is_trial), {ALERT: sessions}, NO_TAX)
    assert caught.value.code == code
    assert "sales" in str(caught.value)


def test_the_most_sessions_that_are_believed_are_rated():
    lines = rate(a_slice(price=0, usage=0), {USAGE: 10**9}, NO_TAX)
    assert total(lines) == 20_000 + 60_000 + 12_339_938_300


@pytest.mark.parametrize(
    "money",
    [{"price": 2**53 + 1}, {"price": 0, "tiers": (Tier(None, Decimal(10**12)),)}],
    ids=["price", "tier"],
)
def test_amounts_that_nobody_can_owe_hold_the_invoice(money):
    with pytest.raises(Held) as caught:
        rate(a_slice(**money), {USAGE: 10**6}, NO_TAX)
    assert caught.value.code == "absurd_amount"


def test_so_do_taxes_and_totals():
    most = Line(LineKind.PRICE, Basis.PRICE, Decimal("100.001"), 2**53)
    for reckon in (lambda: with_tax([most]), lambda: total([most, most]), lambda: total([most] * 9)):
        with pytest.raises(Held) as caught:
            reckon()
        assert caught.value.code == "absurd_amount"
    assert total([most]) == 2**53


def price(amount, percent):
    return Line(LineKind.PRICE, Basis.PRICE, Decimal(percent), amount)


def test_tax_is_of_the_sum_of_each_rates_lines_and_none_where_the_rate_is_zero():
    lines = [price(105, "19"), price(1, "7.000"), price(-3, "19.000"), price(500, "0"), price(5, "7")]
    assert brief(with_tax(lines)[:5]) == brief(lines)
    assert [(line.tax_percent, line.amount_minor, line.quantity) for line in with_tax(lines)[5:]] == [
        (Decimal(7), 0, 0),  # 0.42
        (Decimal(19), 19, 0),  # 19.38
    ]
    assert total(with_tax(lines)) == 608 + 19


def test_tax_of_a_credit_is_rounded_away_from_zero_too():
    assert with_tax([price(-50, "1")])[1].amount_minor == -1


def test_tax_is_not_taxed():
    lines = [price(1_000, "19"), price(10, "7")]
    assert with_tax(with_tax(lines)) == with_tax(lines)


numbers = st.integers(0, 10_000)
counts = st.fixed_dictionaries({}, optional={USAGE: numbers, ALERT: numbers})
prices = st.decimals(0, 100, places=5)
tiers = st.lists(st.tuples(st.integers(1, 3_000), prices), max_size=3).flatmap(
    lambda steps: st.booleans().map(lambda sells: _tiers(steps) if sells else ())
)
seconds = st.integers(1, 400 * 86_400)


def _tiers(steps):
    ends = [sum(size for size, _ in steps[: n + 1]) for n in range(len(steps))]
    return (
        *(Tier(end, price) for end, (_, price) in zip(ends, steps, strict=True)),
        Tier(None, Decimal("0.01")),
    )


@st.composite
def slices(draw):
    length, start = draw(seconds), draw(st.integers(0, 10**9))
    first, last = sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))
    return Slice(
        "sales",
        terms(draw(st.integers(0, 10**7)), draw(numbers), draw(numbers), draw(tiers)),
        Span((start + first) * 1000, (start + last) * 1000),
        Span(start * 1000, (start + length) * 1000),
        draw(st.booleans()),
    )


@settings(deadline=None)
@given(slices(), counts)
def test_lines_of_a_kind_cover_its_sessions_without_gap_or_overlap(part, sessions):
    lines = rate(part, sessions, NO_TAX)
    for kind in SessionKind:
        covered = [
            session
            for line in lines
            if line.kind.value == kind.value
            for session in range(line.first, line.first + line.quantity)
        ]
        assert covered == list(range(sessions.get(kind, 0)))
    assert all(line.quantity > 0 for line in lines)


@settings(deadline=None)
@given(slices(), counts, st.decimals(0, 100, places=3))
def test_the_total_is_the_sum_of_the_lines(part, sessions, percent):
    lines = with_tax(rate(part, sessions, percent))
    assert total(lines) == sum(line.amount_minor for line in lines)
    net = sum(line.amount_minor for line in lines if line.kind is not LineKind.TAX)
    assert abs(total(lines) - net * (1 + Fraction(percent) / 100)) <= Fraction(1, 2)


@settings(deadline=None)
@given(slices(), counts)
def test_each_line_is_within_half_a_minor_unit_of_what_it_stands_for(part, sessions):
    price_line, *rest = rate(part, sessions, NO_TAX)
    share = Fraction(part.during.length_ms, part.whole.length_ms)
    assert abs(
        price_line.amount_minor - (0 if part.is_trial else part.terms.price_minor * share)
    ) <= Fraction(1, 2)
    for line in rest:
        exact = line.quantity * Fraction(line.unit_price or 0) * 100
        assert abs(line.amount_minor - exact) <= Fraction(1, 2)
        assert (line.unit_price is not None) == (line.basis is Basis.TIER)


@settings(deadline=None)
@given(slices(), st.data())
def test_splitting_a_slice_never_lowers_its_allowance_nor_changes_its_price_by_more_than_rounding(part, data):
    cut = 1000 * data.draw(st.integers(part.during.from_ms // 1000, part.during.to_ms // 1000))
    pieces = [
        Slice(part.bot_id, part.terms, during, part.whole, False)
        for during in (Span(part.during.from_ms, cut), Span(cut, part.during.to_ms))
    ]
    whole = Slice(part.bot_id, part.terms, part.during, part.whole, False)
    for kind in SessionKind:
        assert 0 <= sum(allowance(piece, kind) for piece in pieces) - allowance(whole, kind) <= 1
    apart = sum(rate(piece, {}, NO_TAX)[0].amount_minor for piece in pieces)
    assert abs(apart - rate(whole, {}, NO_TAX)[0].amount_minor) <= 1


@settings(deadline=None)
@given(slices(), counts, st.sampled_from(SessionKind))
def test_a_session_more_never_costs_less(part, sessions, kind):
    more = {**sessions, kind: sessions.get(kind, 0) + 1}
    assert total(rate(part, more, NO_TAX)) >= total(rate(part, sessions, NO_TAX))
