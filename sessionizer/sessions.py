"""Conversation sessions: a walk through the activity of a conversation (section 5).

What is activity and what is engagement is said here and nowhere else. This module does not know blocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from sessionizer.clock import WALL_CLOCK, BotClock
from sessionizer.facts import (
    BOT_MESSAGE,
    CLOSED,
    INDEX_MASK,
    KIND_MASK,
    KIND_SHIFT,
    TIME_SHIFT,
    USER_MESSAGE,
)

# The order within one millisecond. A bot message and an end of a span may change places: neither opens a
# session, and both belong to the one that is open or neither does.
USER: Final = 0
BOT: Final = 1
EDGE: Final = 2
CLOSE: Final = 3

STEP_OF_KIND: Final = {USER_MESSAGE: USER, BOT_MESSAGE: BOT, CLOSED: CLOSE}

# time_ms, step (USER, BOT, EDGE or CLOSE), bot time, and the fact it comes from (0 for the end of a span)
Activity = tuple[int, int, int, int]


@dataclass(slots=True)
class Session:
    """One conversation session: its activity in order, its last engagement, and the close that ended it."""

    activity: list[Activity]
    engaged_ms: int
    closed_ms: int | None = None


def activity_of(talk: Iterable[int], clock: BotClock) -> list[Activity]:
    """Return, in the order of the walk, the messages outside all spans, both ends of spans, and every close.

    `talk` are messages and closes, packed.
    """
    steps = STEP_OF_KIND
    activity = [
        (fact >> TIME_SHIFT, steps[fact >> KIND_SHIFT & KIND_MASK], fact >> TIME_SHIFT, fact) for fact in talk
    ]
    if clock is not WALL_CLOCK:
        activity = [
            (time_ms, step, clock.at(time_ms), fact)
            for time_ms, step, _, fact in activity
            if step == CLOSE or not clock.stands_still(time_ms)
        ]
        activity += [(end, EDGE, clock.at(end), 0) for interval in clock.intervals for end in interval]
    activity.sort()
    return activity


def sessions_of(activity: Iterable[Activity], idle_timeout_ms: int) -> list[Session]:
    """Walk activity that is in order, and return the sessions in it."""
    sessions: list[Session] = []
    session: Session | None = None
    belongs_until_ms = 0  # on the bot clock
    for moment in activity:
        time_ms, step, bot_ms, _ = moment
        if session is not None and bot_ms > belongs_until_ms:
            session = None
        if step == CLOSE:
            if session is not None:
                session.closed_ms = time_ms
                session = None
        elif session is not None or step == USER:
            if session is None:
                session = Session([], time_ms)
                sessions.append(session)
            session.activity.append(moment)
            if step != BOT:
                session.engaged_ms = time_ms
                belongs_until_ms = bot_ms + idle_timeout_ms
    return sessions


def first_user_of(session: Session, lines: list[str]) -> tuple[str, str]:
    """Return user_id and channel of the session's first user message; in one millisecond, the smaller."""
    start_ms = session.activity[0][0]
    first = takewhile(lambda moment: moment[0] == start_ms and moment[1] == USER, session.activity)
    _, user_id, channel = min(lines[fact & INDEX_MASK].split("|") for _, _, _, fact in first)
    return user_id, channel


def settles_ms_of(session: Session, uncut_clock: BotClock, idle_timeout_ms: int) -> int:
    """Return the last time at which a fact in order can still extend the session; no lateness is in it.

    On `uncut_clock` a span that no `ended` closed runs its whole handoff timeout, whatever was closed since.
    """
    if session.closed_ms is not None:
        return session.closed_ms
    return uncut_clock.latest_wall_ms(uncut_clock.at(session.engaged_ms) + idle_timeout_ms)
