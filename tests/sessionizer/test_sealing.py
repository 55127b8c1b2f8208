"""Sealing: the bill of everything is that of what was sealed and that of the rest, whatever comes later."""

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import parse_time_ms
from sessionizer import reference
from sessionizer.bill import Block, bill
from sessionizer.facts import FactSet
from sessionizer.reference import Fact
from sessionizer.rules import DEFAULT_RULES, RuleBook, RuleSet
from sessionizer.sealing import seal_at, split_at
from tests.sessionizer import hostile
from tests.sessionizer.stories import (
    MILLISECOND,
    MINUTE,
    agent,
    at,
    bot,
    closed,
    ended,
    facts,
    started,
    user,
)
from tests.sessionizer.test_properties import examples

DAY = 24 * 60.0
ALWAYS = {"effective_ms": 0, "account_id": None, "bot_id": None}
LENGTHS = ("block_ms", "idle_timeout_ms", "handoff_timeout_ms")
Condition = Callable[[int], bool]
last_minutes = st.one_of(
    st.integers(-2, 120), st.integers(-2, 100).map(lambda step: step * 2.5), st.just(9 * DAY)
)
horizons_ms = st.builds(
    lambda minute, nudge_ms: at(minute) + nudge_ms, last_minutes, st.sampled_from([0, -1, 1])
)


@pytest.mark.parametrize(
    ("sentence", "events", "horizon", "expected"),
    [
        ("a session that has settled is sealed", user(0, 5), 60, 60),
        ("in the millisecond in which it settles too", user(0, 5), 20, 20),
        ("one that has not is not", user(0, 5), 20 - MILLISECOND, None),
        ("so what comes before it is sealed", user(0, 60), 70, 60 - MILLISECOND),
        ("a session settles with its close", user(0, 60) + closed(3), 3, 3),
        ("sessions that follow at once are parted", user(0) + closed(3) + user(3 + MILLISECOND), 10, 3),
        ("facts that are billed nothing are sealed like any", bot(0), 0, 0),
        ("a span has its session go on", user(0) + agent(2, 60), 74, None),
        ("a handoff that has ended is no bar", user(0) + agent(2, 60), 75, 75),
        ("one without a session neither", agent(0, 30), 30, 30),
        ("one that is open is", bot(0) + agent(1, 30), 30 - MILLISECOND, 1 - MILLISECOND),
        ("however long ago it ran out", user(0) + started(100), 9 * DAY, 100 - MILLISECOND),
        ("or was cut by a close", user(0) + started(100) + closed(101), 9 * DAY, 100 - MILLISECOND),
        ("and whatever began after that", started(100) + user(3 * DAY), 9 * DAY, None),
        ("an end closes it, however late", started(100) + user(3 * DAY) + ended(5 * DAY), 9 * DAY, 9 * DAY),
        ("and has it open until then", user(0) + started(100) + ended(5 * DAY), 4 * DAY, 100 - MILLISECOND),
        ("another's end does not", bot(0) + started(1) + agent(2, 3, "h-2"), 9 * DAY, 1 - MILLISECOND),
        ("a start in the millisecond of an end is empty", agent(0, 30) + started(30), 30, 30),
        ("a second start changes nothing", agent(0, 30) + started(10), 29, None),
        ("copies on both sides keep each other", bot(0) + bot(10, 20, id="e"), 19, 10 - MILLISECOND),
        ("on one side they do not", bot(0) + bot(10, 20, id="e"), 20, 20),
        ("of three, the first and the last", bot(0) + bot(10, 20, 30, id="e"), 29, 10 - MILLISECOND),
        ("copies at one time do not", bot(0, id="e") + user(0, id="e"), 0, 0),
        ("nothing is as old as that", user(0), -1, None),
        ("what is younger than the horizon is no bar", user(0) + started(90) + bot(80, 95, id="e"), 70, 70),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_it_is_sealed_through(sentence, events, horizon, expected):
    assert seal_at(facts(events), DEFAULT_RULES, at(horizon)) == (None if expected is None else at(expected))


def test_what_is_later_stays_with_its_strings_alone():
    known = facts(user(0, user_id="gone") + user(0, 60, user_id="stays") + bot(61, channel="sms"))
    assert split_at(known, at(60)) == (3, *facts(bot(61, channel="sms")).take_chunk())
    assert split_at(known, at(59)) == (
        2,
        *facts(user(60, user_id="stays") + bot(61, channel="sms")).take_chunk(),
    )
    assert split_at(known, at(61)) == (4, b"", "")


def test_losing_copies_are_sealed_and_stay_like_winners():
    events = bot(0, 1, id="e") + bot(60, 61, id="f")
    sealed, stored, strings = split_at(facts(events), at(1))
    assert sealed == 2
    assert FactSet.load(stored, strings) == facts(bot(60, 61, id="f"))


# --- against the reference


def time_of(event: dict) -> int:
    return parse_time_ms(event["time"])


def row_of(rules: RuleSet) -> dict:
    """The rule set as one of the reference's that is in force always."""
    return ALWAYS | {name: getattr(rules, name) for name in LENGTHS}


def billed(events: list[dict], row: dict) -> list[dict]:
    """The reference's records; the revision is no sum of the parts' ones."""
    return [record | {"revision": 0} for record in reference.sessionize(events, [row])]


def rules_in_force(events: list[dict], rows: list[dict]) -> RuleSet:
    return RuleBook([RuleSet(**row) for row in rows]).in_force("acme", "sales", min(map(time_of, events)))


def stored(events: list[dict]) -> FactSet:
    return FactSet.load(*facts(events).take_chunk())


def valid_later(further: list[dict], through_ms: int, sealed: list[dict]) -> list[dict]:
    """Those that may come after sealing: later than that, and none under the identity of one that is gone."""
    gone = {(event["source"], event["id"]) for event in sealed}
    return [e for e in further if time_of(e) > through_ms and (e["source"], e["id"]) not in gone]


def parted(events: list[dict], through_ms: int) -> tuple[list[dict], list[dict]]:
    sealed = [event for event in events if time_of(event) <= through_ms]
    return sealed, [event for event in events if time_of(event) > through_ms]


@examples(3000)
@given(hostile.conversations, hostile.conversations, hostile.rule_rows, horizons_ms)
def test_the_bill_of_all_is_that_of_the_sealed_and_that_of_the_rest(events, further, rows, horizon_ms):
    rules = rules_in_force(events, rows)
    through_ms = seal_at(stored(events), rules, horizon_ms)
    if through_ms is None:
        return
    assert through_ms <= horizon_ms
    sealed, rest = parted(events, through_ms)
    count, *kept = split_at(stored(events), through_ms)
    assert count == facts(sealed).revision > 0
    further = valid_later(further, through_ms, sealed)
    row = row_of(rules)
    whole = billed(events + further, row)
    assert whole == sorted(billed(sealed, row) + billed(rest + further, row), key=reference._place)
    known = FactSet.load(*kept)
    known.merge(facts(further))
    assert known == facts(rest + further)
    before = bill(stored(sealed), rules).blocks
    after = bill(known, rules).blocks if known.revision else ()
    assert before + after == bill(facts(events + further), rules).blocks


@examples(1000)
@given(hostile.conversations, st.lists(hostile.conversations, max_size=3), hostile.lengths, st.data())
def test_sealed_again_and_again_it_has_the_bill_of_all(events, later, lengths, data):
    row = {**ALWAYS, **lengths}
    rules = RuleSet(**row)
    all_events, gone, records, known = [], [], [], FactSet()
    horizon_ms = through_ms = at(-3)
    for coming in [events, *later]:
        coming = valid_later(coming, through_ms, gone)
        all_events += coming
        known.merge(facts(coming))
        horizon_ms += data.draw(st.integers(0, 60)) * MINUTE
        newer_ms = seal_at(known, rules, horizon_ms) if known.revision else None
        if newer_ms is not None:
            assert through_ms < newer_ms
            sealed = [event for event in all_events if through_ms < time_of(event) <= newer_ms]
            records += billed(sealed, row)
            gone += sealed
            count, *kept = split_at(known, newer_ms)
            assert count == facts(sealed).revision
            known, through_ms = FactSet.load(*kept), newer_ms
    rest = [event for event in all_events if time_of(event) > through_ms]
    assert known == facts(rest)
    assert billed(all_events, row) == sorted(records + billed(rest, row), key=reference._place)


def newest_allowed(events: list[dict], rules: RuleSet, horizon_ms: int) -> int | None:
    """The newest moment at which the three conditions hold, each tried by itself wherever it may change."""
    of_events = set(map(reference._fact, events))
    blocks = bill(facts(events), rules).blocks
    conditions = [settled(blocks), handed_back(reference._winners(of_events)), together(of_events)]
    oldest_ms = min(map(time_of, events))
    edges_ms = {fact.time_ms for fact in of_events} | {block.settles_ms for block in blocks}
    moments = {horizon_ms} | {edge_ms + by_ms for edge_ms in edges_ms for by_ms in (-1, 0, 1)}
    allowed = [
        moment
        for moment in moments
        if oldest_ms <= moment <= horizon_ms and all(holds(moment) for holds in conditions)
    ]
    return max(allowed, default=None)


def settled(blocks: tuple[Block, ...]) -> Condition:
    return lambda moment: all(b.session_started_ms > moment or b.settles_ms <= moment for b in blocks)


def handed_back(winners: list[Fact]) -> Condition:
    starts = [fact for fact in winners if fact.type == "handoff.started.v1"]
    ends = [fact for fact in winners if fact.type == "handoff.ended.v1"]

    def is_over(start: Fact, moment: int) -> bool:
        of_it = [end.time_ms for end in ends if end.handoff_id == start.handoff_id]
        return any(start.time_ms <= end_ms <= moment for end_ms in of_it)

    return lambda moment: all(start.time_ms > moment or is_over(start, moment) for start in starts)


def together(of_events: set[Fact]) -> Condition:
    copies = [(one.time_ms, two.time_ms) for one, two in combinations(of_events, 2) if one[:2] == two[:2]]
    return lambda moment: all((one_ms <= moment) == (two_ms <= moment) for one_ms, two_ms in copies)


@examples(3000)
@given(hostile.conversations, hostile.lengths, horizons_ms)
def test_no_newer_moment_would_do(events, lengths, horizon_ms):
    rules = RuleSet(effective_ms=0, **lengths)
    assert seal_at(stored(events), rules, horizon_ms) == newest_allowed(events, rules, horizon_ms)


@examples(500)
@given(hostile.conversations, horizons_ms)
def test_what_stays_holds_the_strings_it_uses_and_no_other(events, through_ms):
    _, *kept = split_at(stored(events), through_ms)
    known = FactSet.load(*kept)
    used = {known.lines()[fact & 0xFFFFFF] for fact in known._facts()}
    assert sorted(known.lines()) == sorted(used)
