"""Adjustments: what is owed now less what was billed, and the records that came and went."""

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from invoicing.adjusting import adjustments, moved
from invoicing.model import Basis, Line, LineKind
from invoicing.rating import with_tax

FULL, REDUCED = Decimal(19), Decimal(7)


def owed(amount, bot_id="sales", percent=FULL):
    return Line(LineKind.USAGE, Basis.TIER, percent, amount, quantity=1, bot_id=bot_id)


def test_what_is_owed_now_less_what_was_billed():
    assert adjustments([owed(500), owed(120)], {("sales", FULL): 600}) == [("sales", FULL, 20)]
    assert adjustments([owed(500)], {("sales", FULL): 600}) == [("sales", FULL, -100)]


def test_where_nothing_differs_there_is_none():
    assert adjustments([owed(500), owed(100)], {("sales", FULL): 600}) == []
    assert adjustments([owed(0)], {}) == []
    assert adjustments([], {}) == []


def test_a_bot_that_is_gone_is_owed_back():
    assert adjustments([], {("sales", FULL): 600}) == [("sales", FULL, -600)]


def test_a_bot_that_is_new_is_owed_whole():
    assert adjustments([owed(5, "new")], {("sales", FULL): 0}) == [("new", FULL, 5)]


def test_bots_and_tax_rates_are_told_apart_and_stand_in_order():
    lines = [owed(3, "b"), owed(2, "a", FULL), owed(1, "a", REDUCED)]
    assert adjustments(lines, {("b", REDUCED): 3}) == [
        ("a", REDUCED, 1),
        ("a", FULL, 2),
        ("b", REDUCED, -3),
        ("b", FULL, 3),
    ]


def test_a_tax_rate_is_the_same_however_many_zeros_it_has():
    assert adjustments([owed(600, percent=Decimal("19.000"))], {("sales", FULL): 600}) == []


def test_tax_and_credits_are_not_compared():
    lines = [*with_tax([owed(500)]), Line(LineKind.CREDIT, Basis.OTHER, FULL, -50)]
    assert adjustments(lines, {("sales", FULL): 500}) == []


bots = st.sampled_from(["a", "b", "c"])
rates = st.sampled_from([FULL, REDUCED, Decimal(0)])
amounts = st.integers(-1000, 1000)


@given(st.lists(st.builds(owed, amounts, bots, rates)), st.dictionaries(st.tuples(bots, rates), amounts))
def test_once_adjusted_what_was_billed_is_what_is_owed_and_there_is_nothing_more_to_adjust(lines, billed):
    found = adjustments(lines, billed)
    after = Counter(billed)
    for bot_id, percent, amount in found:
        assert amount != 0
        after[bot_id, percent] += amount
    assert adjustments(lines, after) == []
    assert sum(after.values()) == sum(line.amount_minor for line in lines)
    assert found == sorted(found)


def test_a_record_that_was_moved_came_and_went():
    now, accounted = {("one", 100), ("two", 250)}, {("two", 200), ("three", 300)}
    came, went = moved(now, accounted)
    assert came == {("one", 100), ("two", 250)}
    assert went == {("two", 200), ("three", 300)}


records = st.sets(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)))


@given(records, records)
def test_what_was_accounted_with_what_came_and_without_what_went_is_what_is_now(now, accounted):
    came, went = moved(now, accounted)
    assert (accounted - went) | came == now
    assert not came & went
    assert moved(now, now) == (set(), set())
