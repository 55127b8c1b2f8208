"""One millisecond either side of every limit, and the clauses of the rules that no example shows."""

import pytest

from tests.sessionizer.stories import MILLISECOND, agent, bot, closed, ended, started, user
from tests.sessionizer.test_examples import Usage, by_the_product, by_the_reference

DAY = 24 * 60
BEFORE = -MILLISECOND
AFTER = MILLISECOND


def usage(start, end, bot, agent=0, users=0, bots=0, session=None, block=1):
    return Usage(start if session is None else session, block, start, end, bot, agent, users, bots)


LIMITS = {
    "a session of 15 min less a millisecond is one block": (
        user(0, 15 + BEFORE),
        [usage(0, 15 + BEFORE, 15 + BEFORE, users=2)],
    ),
    "at the idle timeout an activity still belongs": (user(0, 15), [usage(0, 15, 15, users=2)]),
    "a millisecond before it too": (user(1, 16 + BEFORE), [usage(1, 16 + BEFORE, 15 + BEFORE, users=2)]),
    "a millisecond after it not": (
        user(0, 15 + AFTER),
        [usage(0, 0, 0, users=1), usage(15 + AFTER, 15 + AFTER, 0, users=1)],
    ),
    "a bot's message at the idle timeout belongs, a millisecond after not": (
        user(0) + bot(15, 15 + AFTER),
        [usage(0, 15, 15, users=1, bots=1)],
    ),
    "a span that begins at the idle timeout belongs, and keeps the session": (
        user(0, 50) + agent(15, 40),
        [usage(0, 15, 15, users=1), usage(40, 50, 10, users=1, session=0, block=2)],
    ),
    "one that begins a millisecond after it does not": (
        user(0, 50) + agent(15 + AFTER, 40),
        [usage(0, 0, 0, users=1), usage(50, 50, 0, users=1)],
    ),
    "a message a millisecond before a span is activity": (
        user(0, 2 + BEFORE) + agent(2, 4),
        [usage(0, 2, 2, users=2)],
    ),
    "in the millisecond of its start it is not": (user(0, 2) + agent(2, 4), [usage(0, 2, 2, users=1)]),
    "a millisecond before its end it is not": (
        user(0, 4 + BEFORE) + agent(2, 4),
        [usage(0, 2, 2, users=1)],
    ),
    "in the millisecond of its end it is": (user(0, 4) + agent(2, 4), [usage(0, 2, 2, users=2)]),
    "a user's message at the end of a span opens a session, which the end then belongs to": (
        user(4) + agent(2, 4),
        [usage(4, 4, 0, users=1)],
    ),
    "in one millisecond the user comes before the bot": (
        bot(0) + user(0),
        [usage(0, 0, 0, users=1, bots=1)],
    ),
    "in one millisecond messages come before the close": (
        closed(5) + user(0, 5) + bot(5),
        [usage(0, 5, 5, users=2, bots=1)],
    ),
    "a millisecond after it they do not": (
        closed(5) + user(0, 5 + AFTER) + bot(5),
        [usage(0, 5, 5, users=1, bots=1), usage(5 + AFTER, 5 + AFTER, 0, users=1)],
    ),
    "a bot alone after a close opens nothing": (
        user(0) + closed(1) + bot(2),
        [usage(0, 0, 0, users=1)],
    ),
    "a message at the edge of two blocks is in the first": (
        user(0, 10, 15, 20),
        [usage(0, 15, 15, users=3), usage(15, 20, 5, users=1, session=0, block=2)],
    ),
    "spans that overlap are one": (
        user(0, 10, 21) + agent(5, 15, "h-1") + agent(10, 20, "h-2"),
        [usage(0, 21, 6, agent=15, users=2)],
    ),
    "spans that touch are one: nothing happened where they meet": (
        user(0, 10, 21) + agent(5, 10, "h-1") + agent(10, 20, "h-2"),
        [usage(0, 21, 6, agent=15, users=2)],
    ),
    "a millisecond between two spans is bot time": (
        user(0, 10, 21) + agent(5, 10, "h-1") + agent(10 + AFTER, 20, "h-2"),
        [usage(0, 21, 6 + AFTER, agent=15 + BEFORE, users=3)],
    ),
    "a span inside another changes nothing": (
        user(0, 21) + agent(5, 20, "h-1") + agent(8, 12, "h-2"),
        [usage(0, 21, 6, agent=15, users=2)],
    ),
    "a handoff ended before it started has not ended": (
        user(0) + ended(1) + started(5) + user(5 + DAY + 1),
        [usage(0, 5 + DAY + 1, 6, agent=DAY, users=2)],
    ),
    "an ended without a started has no effect": (user(0, 10) + ended(5), [usage(0, 10, 10, users=2)]),
    "a second ended has none either": (
        user(0, 25) + agent(5, 20) + ended(22),
        [usage(0, 25, 10, agent=15, users=2)],
    ),
    "a started while open has no effect": (
        user(0, 25) + agent(5, 20) + started(10),
        [usage(0, 25, 10, agent=15, users=2)],
    ),
    "a started in the millisecond its span ends has none either": (
        user(0, 25) + agent(5, 20) + started(20, user_id="again"),
        [usage(0, 25, 10, agent=15, users=2)],
    ),
    "a millisecond later it opens a new one": (
        user(0, 21) + agent(5, 20) + started(20 + AFTER),
        [usage(0, 20 + AFTER, 5 + AFTER, agent=15, users=1)],
    ),
    "an ended closes its span however late": (
        user(0) + agent(5, 5 + 3 * DAY) + user(6 + 3 * DAY),
        [usage(0, 6 + 3 * DAY, 6, agent=3 * DAY, users=2)],
    ),
    "a span never ended runs out at a close": (
        user(0, 12) + started(5) + closed(10),
        [usage(0, 5, 5, users=1), usage(12, 12, 0, users=1)],
    ),
    "a close before its start does not end it": (
        user(0, 12) + started(5) + closed(5 + BEFORE),
        [usage(0, 0, 0, users=1)],
    ),
    "a close at its start leaves it empty": (
        user(0, 12) + started(5) + closed(5),
        [usage(0, 0, 0, users=1), usage(12, 12, 0, users=1)],
    ),
    "a close after the handoff timeout does not prolong it": (
        user(0) + started(5) + user(5 + DAY, 6 + DAY) + closed(7 + DAY),
        [usage(0, 6 + DAY, 6, agent=DAY, users=3)],
    ),
    "a started where one ran out opens a new one, and they touch": (
        user(0, 6 + DAY) + started(5, 5 + DAY) + user(5 + 2 * DAY),
        [usage(0, 5, 5, users=2)],
    ),
    "a started after a close opens a new one": (
        user(0, 11, 30) + started(5, 12) + closed(10) + ended(20, handoff_id="h-2"),
        [usage(0, 5, 5, users=1), usage(11, 12, 1, users=1)],
    ),
    "in the millisecond of the close too, and that runs out at once": (
        user(0, 12) + started(5, 10) + closed(10),
        [usage(0, 5, 5, users=1), usage(12, 12, 0, users=1)],
    ),
    "a started before that does not": (
        user(0, 12) + started(5, 10 + BEFORE) + closed(10),
        [usage(0, 5, 5, users=1), usage(12, 12, 0, users=1)],
    ),
    "an ended turns what had run out into one span": (
        user(0, 12, 40) + started(5) + closed(10) + ended(30),
        [usage(0, 5, 5, users=1), usage(40, 40, 0, users=1)],
    ),
    "a block that ends where a span begins ends there, and the next starts where it ends": (
        user(0, 10, 15, 21, 26) + agent(15, 20),
        [
            usage(0, 15, 15, users=2),
            usage(20, 26, 6, users=2, session=0, block=2),
        ],
    ),
    "a silent block between leaves a gap, and the end of a span is no silence": (
        user(0, 15, 30) + agent(31, 40) + user(41),
        [
            usage(0, 15, 15, users=2),
            usage(15, 30, 15, users=1, session=0, block=2),
            usage(30, 41, 2, agent=9, users=1, session=0, block=3),
        ],
    ),
}


@pytest.mark.parametrize("sessionized", [by_the_product, by_the_reference])
@pytest.mark.parametrize("limit", LIMITS)
def test_limit(limit, sessionized):
    events, expected = LIMITS[limit]
    records = sessionized(events, {})
    assert len(records) == len(expected)
    for record, wanted in zip(records, expected, strict=True):
        assert record.items() >= wanted.record().items()
