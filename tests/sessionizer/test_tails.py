"""A conversation billed from its tail on has the bill of the whole, as long as the tail says that it has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionizer import tails
from sessionizer.bill import bill
from sessionizer.bills import bill_many
from sessionizer.facts import FactSet
from sessionizer.intake import fact_of
from sessionizer.packed import PackedFacts
from sessionizer.tails import tail_of
from tests.sessionizer import hostile
from tests.sessionizer.stories import MINUTE, START, event, timed
from tests.sessionizer.test_properties import examples, rules_of, without_copies

SHORT = {"block_ms": 5 * MINUTE, "idle_timeout_ms": 15 * MINUTE, "handoff_timeout_ms": 20 * MINUTE}
conversations = st.one_of(
    st.lists(
        hostile.events([hostile.USER] * 5 + [hostile.BOT] * 4 + [hostile.CLOSED]), min_size=12, max_size=30
    ),
    hostile.conversations,
)
lengths = st.one_of(st.just(SHORT), hostile.lengths)


@pytest.fixture(autouse=True)
def short_tails(monkeypatch):
    monkeypatch.setattr(tails, "LONG_FACTS", 1)
    monkeypatch.setattr(tails, "_DISORDER_MS", 0)


class Billing:
    """A conversation that is billed again and again, from its tail on if that will do."""

    def __init__(self, lengths: dict) -> None:
        self.rules = rules_of(lengths)
        self.known = FactSet()
        self.packed = PackedFacts()
        self.tail = None
        self.blocks = []

    def add(self, events: list, settled_before_ms: int = 0) -> int:
        """Bill it with these events too; return how many blocks were left as they were."""
        for each, time_ms in timed(events):
            self.known.add(*fact_of(each, time_ms))
        facts, strings = self.known.take_chunk()
        self.packed.extend(facts)
        self.packed.strings += strings
        if not self.packed.revision:
            return 0
        if self.tail and not self.tail.holds(self.packed):
            self.tail = None
        bills = self._bill()
        if self.tail and not self.tail.is_open(bills.blocks, settled_before_ms):
            self.tail = None
            bills = self._bill()
        self._compare(bills)
        left = self.tail.blocks if self.tail else 0
        self.blocks[left:] = bills.blocks
        self.packed.take_chunk()
        self.tail = tail_of(self.packed, bills.blocks, bills.spoken_ms, settled_before_ms, self.tail)
        return left

    def _bill(self):
        if self.tail is None:
            return bill_many([self.packed], lambda place, earliest_ms: self.rules)
        facts = self.packed.since(self.tail.place, self.tail.spoken_ms)
        return bill_many([facts], lambda place, earliest_ms: self.rules, {0: self.tail.begun})

    def _compare(self, bills):
        expected = bill(self.known, self.rules)
        left = self.tail.blocks if self.tail else 0
        assert [block[:-1] for block in self.blocks[:left]] == [
            block[:-1] for block in expected.blocks[:left]
        ]
        assert bills.blocks == list(expected.blocks[left:])
        if self.tail:
            assert self.tail.earliest_ms == self.known.earliest_ms
            ends = zip(expected.blocks[:left], expected.blocks[1:], strict=False)
            last = [at for at, (_, after) in enumerate(ends) if after.block == 1]
            assert [self.blocks[at] for at in last] == [expected.blocks[at] for at in last]
        assert bills.settles_ms == [expected.settles_ms]


@examples(2000)
@given(conversations.map(without_copies), lengths, st.randoms(use_true_random=False))
def test_whatever_comes_in_whatever_order_the_bill_is_that_of_the_whole(events, lengths, dice):
    billing = Billing(lengths)
    coming = sorted(events, key=lambda each: each["time"])
    while coming:
        group = []
        for _ in range(min(dice.choice([1, 1, 1, 2, 4]), len(coming))):
            # Most come in order, some overtake others.
            group.append(coming.pop(min(dice.choice([0] * 8 + [1, 2]), len(coming) - 1)))
        billing.add(group, dice.choice([0, 0, 0, START + 30 * MINUTE]))


def talk(*minutes: float, author: str = "user") -> list:
    return [
        event("conversation.message.v1", round(START + minute * MINUTE), f"{author} {minute}", author=author)
        for minute in minutes
    ]


def test_a_long_session_is_billed_from_its_last_blocks_on():
    billing = Billing(SHORT)
    billing.add(talk(*range(31)))
    assert billing.add(talk(31)) == 5
    assert billing.add(talk(32)) == 6


def test_one_whose_blocks_begin_with_the_bot_too():
    billing = Billing(SHORT)
    billing.add(talk(*range(0, 31, 5)) + talk(*range(1, 31, 5), author="bot"))
    assert billing.add(talk(31)) == 5


@pytest.mark.parametrize("minute", [3, 30])
def test_a_fact_that_is_not_later_than_where_the_tail_begins_has_all_of_it_billed(minute):
    billing = Billing(SHORT)
    billing.add(talk(*range(32)))
    assert billing.add(talk(minute, author="bot")) == 0


def test_a_close_that_ends_the_session_before_the_tail_has_all_of_it_billed():
    billing = Billing(SHORT)
    billing.add(talk(*range(30), 31))
    assert billing.add([event("conversation.closed.v1", START + 30 * MINUTE + 1)]) == 0


def test_a_session_that_has_settled_is_billed_as_a_whole():
    billing = Billing(SHORT)
    billing.add(talk(*range(31)))
    assert billing.add(talk(31), settled_before_ms=START + 120 * MINUTE) == 0


def test_a_handoff_before_keeps_the_tail_from_moving_on():
    billing = Billing(SHORT)
    billing.add(talk(*range(31)))
    for minute, kind in (31, "started"), (40, "ended"):
        billing.add([event(f"handoff.{kind}.v1", START + minute * MINUTE, handoff_id="h")])
    billing.add(talk(*range(40, 60)))
    assert billing.add(talk(60)) == 6
