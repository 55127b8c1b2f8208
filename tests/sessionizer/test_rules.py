"""Rule sets: what is refused, and which of several is in force."""

import pytest

from sessionizer.batch import sessionize
from sessionizer.rules import DAY_MS, DEFAULT_RULES, MINUTE_MS, InvalidRules, RuleBook, RuleSet
from tests.sessionizer.stories import START, bot, timed, user

FOR_ALL = RuleSet(100, idle_timeout_ms=20 * MINUTE_MS)
FOR_ALL_LATER = RuleSet(300, idle_timeout_ms=30 * MINUTE_MS)
OF_SALES = RuleSet(200, idle_timeout_ms=40 * MINUTE_MS, account_id="acme", bot_id="sales")
BOOK = RuleBook([FOR_ALL_LATER, OF_SALES, FOR_ALL])


@pytest.mark.parametrize(
    ("bot_id", "time_ms", "expected"),
    [
        ("sales", 99, DEFAULT_RULES),
        ("sales", 100, FOR_ALL),
        ("sales", 199, FOR_ALL),
        ("sales", 200, OF_SALES),
        ("sales", 300, OF_SALES),
        ("support", 200, FOR_ALL),
        ("support", 299, FOR_ALL),
        ("support", 300, FOR_ALL_LATER),
    ],
)
def test_in_force(bot_id, time_ms, expected):
    assert BOOK.in_force("acme", bot_id, time_ms) is expected


def test_a_bot_of_the_same_name_in_another_account_has_not_its_rules():
    assert BOOK.in_force("other", "sales", 250) is FOR_ALL


def test_the_default_rules_are_those_of_the_page():
    lengths = (DEFAULT_RULES.block_ms, DEFAULT_RULES.idle_timeout_ms, DEFAULT_RULES.handoff_timeout_ms)
    assert lengths == (15 * MINUTE_MS, 15 * MINUTE_MS, 24 * 60 * MINUTE_MS)
    assert RuleBook().in_force("acme", "sales", -(10**14)) is DEFAULT_RULES


def test_a_conversation_is_billed_by_the_rules_at_its_earliest_fact_even_one_that_bills_nothing():
    rules = RuleBook([RuleSet(START + 1, idle_timeout_ms=5 * MINUTE_MS)])
    assert len(sessionize(timed(user(1, 11)), rules)) == 2
    assert len(sessionize(timed(bot(0) + user(1, 11)), rules)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_ms": 0},
        {"idle_timeout_ms": 5 * MINUTE_MS - 1},
        {"idle_timeout_ms": 14 * DAY_MS + 1},
        {"handoff_timeout_ms": 0},
        {"account_id": "acme"},
        {"bot_id": "sales"},
    ],
    ids=str,
)
def test_a_rule_set_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidRules):
        RuleSet(0, **wrong)


def test_the_ends_of_a_range_are_allowed():
    RuleSet(0, block_ms=1, idle_timeout_ms=5 * MINUTE_MS, handoff_timeout_ms=1)
    RuleSet(0, idle_timeout_ms=14 * DAY_MS)


def test_two_rule_sets_of_one_bot_from_the_same_time_are_refused():
    with pytest.raises(InvalidRules, match="effective from 100"):
        RuleBook([FOR_ALL, RuleSet(100)])
