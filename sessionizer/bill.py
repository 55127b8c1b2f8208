"""The bill: a pure function of a conversation's set of facts and the rule set in force.

The sections of the billing rules one after another: facts, spans, bot clock, sessions, blocks.
"""

from typing import Final, NamedTuple

from sessionizer.blocks import Block, blocks_of
from sessionizer.clock import WALL_CLOCK, BotClock
from sessionizer.facts import KIND_MASK, KIND_SHIFT, TIME_SHIFT, USER_MESSAGE, FactSet
from sessionizer.rules import RuleSet
from sessionizer.sessions import Session, activity_of, first_user_of, sessions_of, settles_ms_of
from sessionizer.spans import merged, moments_of, spans_of

__all__ = ["ALGORITHM", "Bill", "BilledSession", "Block", "bill", "walk"]

ALGORITHM: Final = 1
"""The version of this code that a record names; a change that alters any bill raises it."""


class Bill(NamedTuple):
    """The usage sessions of a conversation, by session start and block, and when all of it has settled."""

    blocks: tuple[Block, ...]
    settles_ms: int


class BilledSession(NamedTuple):
    """A conversation session, the blocks it is billed as, and when it settles."""

    session: Session
    blocks: list[Block]
    settles_ms: int


def bill(facts: FactSet, rules: RuleSet) -> Bill:
    """Return the bill of a set of at least one fact; every time in it is without the allowed lateness."""
    _, sessions = walk(facts, rules)
    blocks = tuple(block for session in sessions for block in session.blocks)
    newest_ms = max(facts.winners()) >> TIME_SHIFT
    return Bill(blocks, max([newest_ms, *(session.settles_ms for session in sessions)]))


def walk(facts: FactSet, rules: RuleSet) -> tuple[BotClock, list[BilledSession]]:
    """Return the bot clock of a set of at least one fact, and what its sessions are billed as, in order."""
    winners = facts.winners()
    talk = [fact for fact in winners if fact >> KIND_SHIFT & KIND_MASK <= USER_MESSAGE]
    clock = uncut_clock = WALL_CLOCK
    if len(talk) < len(winners):
        clock, uncut_clock = _clocks(facts, rules.handoff_timeout_ms)
    lines = facts.lines()
    sessions = []
    for session in sessions_of(activity_of(talk, clock), rules.idle_timeout_ms):
        settles_ms = settles_ms_of(session, uncut_clock, rules.idle_timeout_ms)
        blocks = blocks_of(session, clock, rules.block_ms, *first_user_of(session, lines), settles_ms)
        sessions.append(BilledSession(session, blocks, settles_ms))
    return clock, sessions


def _clocks(facts: FactSet, handoff_timeout_ms: int) -> tuple[BotClock, BotClock]:
    """Return the bot clock, and the one on which spans without an `ended` run their whole timeout."""
    spans = spans_of(moments_of(facts), handoff_timeout_ms)
    clock = BotClock(merged((span.start_ms, span.end_ms) for span in spans))
    uncut_clock = BotClock(merged((span.start_ms, span.latest_end_ms) for span in spans))
    return clock, uncut_clock
