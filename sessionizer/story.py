"""Why a conversation is billed as it is: every fact with what came of it, its spans, sessions and blocks.

Told by the functions that make the bill, so that the two cannot disagree. No text for people here.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from sessionizer.bill import BilledSession, bill, walk
from sessionizer.blocks import Block, number_on_grid
from sessionizer.facts import (
    CLOSED,
    FACT_BYTES,
    HANDOFF_ENDED,
    HANDOFF_STARTED,
    IDENTITY_MASK,
    IDENTITY_SHIFT,
    INDEX_MASK,
    KIND_MASK,
    KIND_SHIFT,
    TIME_SHIFT,
    USER_MESSAGE,
    FactSet,
)
from sessionizer.packed import PackedFacts, split
from sessionizer.rules import RuleSet
from sessionizer.spans import Moment, Span, moments_of, spans_by_handoff

MOST_FACTS_BILLED: Final = 300_000
"""A search for causes bills no more than so many facts, over all the sets it looks at: seconds."""


class Effect(StrEnum):
    """What came of a fact."""

    OPENS = "opens"
    """A user message that opens a session."""
    BELONGS = "belongs"
    """A message that belongs to an open session."""
    WITH_HUMAN = "with_human"
    """A message inside a span: no activity, and counted nowhere."""
    UNANSWERED = "unanswered"
    """A bot message while no session is open: it opens none."""
    CLOSES = "closes"
    """A close that ends a session."""
    CLOSES_NOTHING = "closes_nothing"
    """A close while no session is open."""
    TAKES_OVER = "takes_over"
    """A `started` that opens a span."""
    HANDS_BACK = "hands_back"
    """An `ended` that closes a span."""
    NO_EFFECT = "no_effect"
    """A `started` while its handoff is open, or an `ended` while it is not."""
    LOSES = "loses"
    """A copy of an event with other content than the one that counts."""


class ToldFact(NamedTuple):
    """One fact; `session`, `block` and `bot_ms` (since that session's start) where it is part of one."""

    number: int
    """In the order of arrival: the revision of the set with it."""
    time_ms: int
    kind: int
    identity: int
    handoff_id: str
    user_id: str
    channel: str
    effect: Effect
    session: int | None
    block: int | None
    bot_ms: int | None


class SpanEnd(StrEnum):
    """Why a span ended."""

    ENDED = "ended"
    CLOSED = "closed"
    RAN_OUT = "ran_out"


class ToldSpan(NamedTuple):
    """One handoff's time with a human, before merging."""

    handoff_id: str
    start_ms: int
    end_ms: int
    end: SpanEnd


class Story(NamedTuple):
    """All that is known of a conversation, in the order of time, and what it is billed as."""

    rules: RuleSet
    facts: list[ToldFact]
    spans: list[ToldSpan]
    agent_times: list[tuple[int, int]]
    """The spans merged: when the bot clock stands still."""
    sessions: list[BilledSession]


class _Place(NamedTuple):
    """Of a moment of activity: the number of its session and block, and the bot time since its start."""

    session: int
    block: int
    bot_ms: int
    is_first: bool


RulesAt = Callable[[int], RuleSet]
"""The rule set in force for the conversation, given the time of its earliest fact."""


def tell(packed: PackedFacts, rules_at: RulesAt, sealed: int = 0) -> Story:
    """Tell the story of a conversation of at least one fact; so many before them are not there any more."""
    facts = packed.unpacked()
    rules = rules_at(facts.earliest_ms)
    clock, sessions = walk(facts, rules)
    moments = moments_of(facts)
    spans = spans_by_handoff(moments, rules.handoff_timeout_ms)
    winners = set(facts.winners())
    effects = _handoff_effects(spans)
    places, edges = _places(sessions, rules.block_ms)
    closing = {it.session.closed_ms: number for number, it in enumerate(sessions, 1)}
    lines = facts.lines()
    told = []
    for _, number, fact in sorted(_in_time(packed)):
        time_ms, kind = fact >> TIME_SHIFT, fact >> KIND_SHIFT & KIND_MASK
        handoff_id, user_id, channel = lines[fact & INDEX_MASK].split("|")
        place, session = places.get(fact), None
        if fact not in winners:
            effect = Effect.LOSES
        elif kind == CLOSED:
            session = closing.pop(time_ms, None)
            effect = Effect.CLOSES if session else Effect.CLOSES_NOTHING
        elif kind > USER_MESSAGE:
            effect = effects.pop((kind, handoff_id, time_ms), Effect.NO_EFFECT)
            place = edges.get(time_ms) if effect is not Effect.NO_EFFECT else None
        elif place:
            effect = Effect.OPENS if place.is_first else Effect.BELONGS
        else:
            effect = Effect.WITH_HUMAN if clock.stands_still(time_ms) else Effect.UNANSWERED
        told.append(
            ToldFact(
                *(sealed + number, time_ms, kind, fact >> IDENTITY_SHIFT & IDENTITY_MASK),
                *(handoff_id, user_id, channel, effect),
                *(place[:3] if place else (session, None, None)),
            )
        )
    return Story(rules, told, list(_told_spans(spans, moments)), list(clock.intervals), sessions)


def causes(
    packed: PackedFacts, rules_at: RulesAt, name: tuple[int, int], after: int, until: int
) -> list[int] | None:
    """Return which facts, by number, made this block other than it was without them and all later ones.

    Looks at the facts numbered `after` + 1 to `until`. `name` is the session's start and the block's number.
    None if that is too much to look at.
    """
    if (until - after) * until > MOST_FACTS_BILLED:
        return None
    found = []
    before = block_then(packed, rules_at, name, after)
    for number in range(after + 1, until + 1):
        now = block_then(packed, rules_at, name, number)
        if now != before:
            found.append(number)
        before = now
    return found


def causes_since(
    packed: PackedFacts,
    rules_at: RulesAt,
    name: tuple[int, int],
    until: int,
    was: Callable[[Block | None], bool],
) -> list[int] | None:
    """Return which facts, up to that number, made this block other than it last was, given how that was.

    None if it never was so, or if that is too much to look at.
    """
    found = []
    now = block_then(packed, rules_at, name, until)
    for number in range(until, 0, -1):
        if (until - number + 1) * until > MOST_FACTS_BILLED:
            return None
        before = block_then(packed, rules_at, name, number - 1)
        if before != now:
            found.append(number)
        if was(before):
            return found[::-1]
        now = before
    return None


def block_then(packed: PackedFacts, rules_at: RulesAt, name: tuple[int, int], count: int) -> Block | None:
    """The block as the first so many facts make it; when it settles is left out."""
    if not count:
        return None
    facts = FactSet.load(bytes(packed.facts[: count * FACT_BYTES]), packed.strings)
    for block in bill(facts, rules_at(facts.earliest_ms)).blocks:
        if (block.session_started_ms, block.block) == name:
            return block._replace(settles_ms=0)
    return None


def _in_time(packed: PackedFacts) -> Iterator[tuple[tuple[int, int], int, int]]:
    """What facts are sorted by (time, then the order of the walk), their numbers, and they themselves."""
    ranks = {USER_MESSAGE: 0, HANDOFF_STARTED: 1, HANDOFF_ENDED: 2, CLOSED: 4}
    for number, stored in enumerate(split(bytes(packed.facts), FACT_BYTES), 1):
        fact = int.from_bytes(stored, "big", signed=True)
        yield (fact >> TIME_SHIFT, ranks.get(fact >> KIND_SHIFT & KIND_MASK, 3)), number, fact


def _places(sessions: list[BilledSession], block_ms: int) -> tuple[dict[int, _Place], dict[int, _Place]]:
    """Where facts are in sessions, by fact; and where ends of spans are, by time."""
    places, edges = {}, {}
    for number, (session, _, _) in enumerate(sessions, 1):
        first_ms = session.activity[0][2]
        for at, (time_ms, _, bot_ms, fact) in enumerate(session.activity):
            elapsed_ms = bot_ms - first_ms
            place = _Place(number, number_on_grid(elapsed_ms, block_ms), elapsed_ms, at == 0)
            if fact:
                places[fact] = place
            else:
                edges[time_ms] = place
    return places, edges


def _handoff_effects(spans: dict[str, list[Span]]) -> dict[tuple[int, str, int], Effect]:
    """What opens and closes spans: the first fact of this kind, handoff and time."""
    effects = {}
    for handoff_id, its_spans in spans.items():
        for span in its_spans:
            effects[HANDOFF_STARTED, handoff_id, span.start_ms] = Effect.TAKES_OVER
            effects[HANDOFF_ENDED, handoff_id, span.end_ms] = Effect.HANDS_BACK
    return effects


def _told_spans(spans: dict[str, list[Span]], moments: list[Moment]) -> Iterator[ToldSpan]:
    ended = {(moment.handoff_id, moment.time_ms) for moment in moments if moment.kind == HANDOFF_ENDED}
    by_time = sorted((span, handoff_id) for handoff_id, its_spans in spans.items() for span in its_spans)
    for span, handoff_id in by_time:
        if (handoff_id, span.end_ms) in ended:
            end = SpanEnd.ENDED
        else:
            end = SpanEnd.CLOSED if span.end_ms < span.latest_end_ms else SpanEnd.RAN_OUT
        yield ToldSpan(handoff_id, span.start_ms, span.end_ms, end)
