"""The examples of section 9 of the billing rules: each row a test whose name is its sentence."""

import random
from dataclasses import dataclass, field

import pytest

from schemas.times import format_time_ms
from sessionizer import reference
from sessionizer.batch import sessionize
from sessionizer.rules import RuleBook, RuleSet
from tests.sessionizer.stories import (
    HOUR,
    MILLISECOND,
    MINUTE,
    agent,
    alert,
    at,
    bot,
    closed,
    ended,
    every_minute,
    started,
    timed,
    user,
)


@dataclass
class Usage:
    """What a usage session is expected to be, in minutes of the story."""

    session: float
    block: int
    start: float
    end: float
    bot: float
    agent: float = 0
    users: int = 0
    bots: int = 0

    def record(self) -> dict:
        return {
            "session_started_at": format_time_ms(at(self.session)),
            "block": self.block,
            "started_at": format_time_ms(at(self.start)),
            "ended_at": format_time_ms(at(self.end)),
            "bot_ms": round(self.bot * MINUTE),
            "agent_ms": round(self.agent * MINUTE),
            "user_messages": self.users,
            "bot_messages": self.bots,
        }


@dataclass
class Alert:
    """What an alert session is expected to be."""

    start: float

    def record(self) -> dict:
        time = format_time_ms(at(self.start))
        return {"started_at": time, "ended_at": time}


@dataclass
class Example:
    sentence: str
    events: list[dict]
    expected: list[Usage | Alert]
    rules: dict = field(default_factory=dict)


DAY = 24 * 60
NEVER_BACK = 5 + DAY + 14

EXAMPLES = [
    Example(
        "user 0, last message 31, no gap over 15: 3: 0-15, 15-30, 30-31",
        every_minute(0, 31),
        [
            Usage(0, 1, 0, 15, bot=15, users=16),
            Usage(0, 2, 15, 30, bot=15, users=15),
            Usage(0, 3, 30, 31, bot=1, users=1),
        ],
    ),
    Example("one user message: 1", user(0), [Usage(0, 1, 0, 0, bot=0, users=1)]),
    Example("last message at exactly 15:00.000: 1", user(0, 15), [Usage(0, 1, 0, 15, bot=15, users=2)]),
    Example(
        "last message at exactly 15:00.001: 2",
        user(0, 10, 15 + MILLISECOND),
        [
            Usage(0, 1, 0, 15, bot=15, users=2),
            Usage(0, 2, 15, 15 + MILLISECOND, bot=MILLISECOND, users=1),
        ],
    ),
    Example(
        "last message at exactly 30:00.000: 2",
        user(0, 15, 30),
        [Usage(0, 1, 0, 15, bot=15, users=2), Usage(0, 2, 15, 30, bot=15, users=1)],
    ),
    Example(
        "messages at 0, 14, 28, 31: 3 (a re-anchored count would give 2)",
        user(0, 14, 28, 31),
        [
            Usage(0, 1, 0, 15, bot=15, users=2),
            Usage(0, 2, 15, 30, bot=15, users=1),
            Usage(0, 3, 30, 31, bot=1, users=1),
        ],
    ),
    Example(
        "bot 0-10, agent 10-40, bot 40-46 (messages every minute): 2 (16 min of bot time)",
        every_minute(0, 46) + agent(10, 40),
        [
            Usage(0, 1, 0, 45, bot=15, agent=30, users=16),
            Usage(0, 2, 45, 46, bot=1, users=1),
        ],
    ),
    Example(
        "bot 0-10, agent 10-12, bot 12-14: 1",
        every_minute(0, 14) + agent(10, 12),
        [Usage(0, 1, 0, 14, bot=12, agent=2, users=13)],
    ),
    Example(
        "bot 0-5, agent 5-25, bot 25-29: 1",
        every_minute(0, 29) + agent(5, 25),
        [Usage(0, 1, 0, 29, bot=9, agent=20, users=10)],
    ),
    Example(
        "bot 0-16, agent from 16, never back: 2",
        every_minute(0, 16) + started(16),
        [Usage(0, 1, 0, 15, bot=15, users=16), Usage(0, 2, 15, 16, bot=1)],
    ),
    Example("greeting by the bot at 0, nothing else: 0", bot(0), []),
    Example(
        "greeting at 0, user at 5, last message 21: 2: the clock starts at 5; 16 minutes",
        bot(0) + every_minute(5, 21),
        [Usage(5, 1, 5, 20, bot=15, users=16), Usage(5, 2, 20, 21, bot=1, users=1)],
    ),
    Example(
        "user 0, 5, then 25 (idle 20): 2: two conversation sessions of one block each",
        user(0, 5, 25),
        [Usage(0, 1, 0, 5, bot=5, users=2), Usage(25, 1, 25, 25, bot=0, users=1)],
    ),
    Example(
        "user 0, bot 10, bot 14, bot 16, bot 30: 1, ending at 14: reminders are free",
        user(0) + bot(10, 14, 16, 30),
        [Usage(0, 1, 0, 14, bot=14, users=1, bots=2)],
    ),
    Example(
        "user 0, bot 14, user 16: 2: two conversation sessions, 0-14 and 16",
        user(0, 16) + bot(14),
        [Usage(0, 1, 0, 14, bot=14, users=1, bots=1), Usage(16, 1, 16, 16, bot=0, users=1)],
    ),
    Example(
        "idle timeout 2 h: user 0, user 100: 2: blocks 1 and 7; the five between are silent",
        user(0, 100),
        [Usage(0, 1, 0, 15, bot=15, users=1), Usage(0, 7, 90, 100, bot=10, users=1)],
        rules={"idle_timeout_ms": 2 * HOUR},
    ),
    Example(
        "user 0, agent 2-60, user 60: 1: agent time is not idle time",
        user(0, 60) + agent(2, 60),
        [Usage(0, 1, 0, 2, bot=2, users=2)],
    ),
    Example(
        "user 0, closed at 3, user 4: 2",
        user(0, 4) + closed(3),
        [Usage(0, 1, 0, 0, bot=0, users=1), Usage(4, 1, 4, 4, bot=0, users=1)],
    ),
    Example(
        "an alert report every 8 hours, one day, each a delivery of its own: 3 alert sessions",
        alert(0, "d-1") + alert(8 * 60, "d-2") + alert(16 * 60, "d-3"),
        [Alert(0), Alert(8 * 60), Alert(16 * 60)],
    ),
    Example(
        "user 0, empty span at 10, user 20: 2: an empty span is no activity",
        user(0, 20) + agent(10, 10),
        [Usage(0, 1, 0, 0, bot=0, users=1), Usage(20, 1, 20, 20, bot=0, users=1)],
    ),
    Example(
        "one handoff_id: 5-10 and 20-50; user 0-5, 10-20, 50-51: 2: both spans count",
        agent(5, 10) + agent(20, 50) + every_minute(0, 5) + every_minute(10, 20) + user(50, 51),
        [
            Usage(0, 1, 0, 20, bot=15, agent=5, users=16),
            Usage(0, 2, 50, 51, bot=1, users=1),
        ],
    ),
    Example(
        "user 0 and 10, agent 15-40, user 40: 1: started_at 0, ended_at 15, user_messages 3",
        user(0, 10, 40) + agent(15, 40),
        [Usage(0, 1, 0, 15, bot=15, users=3)],
    ),
    Example(
        "the same and user 41: 2; the second: started_at 40, ended_at 41, user_messages 1",
        user(0, 10, 40, 41) + agent(15, 40),
        [Usage(0, 1, 0, 15, bot=15, users=3), Usage(0, 2, 40, 41, bot=1, users=1)],
    ),
    Example(
        "user 0, agent 2-60, closed 30, user 60: 2; the second starts and ends at 60",
        user(0, 60) + agent(2, 60) + closed(30),
        [Usage(0, 1, 0, 2, bot=2, users=1), Usage(60, 1, 60, 60, bot=0, users=1)],
    ),
    Example(
        "bot greeting 0, agent 1-9, user 5, bot 9: 0: the user only spoke to a human",
        bot(0, 9) + agent(1, 9) + user(5),
        [],
    ),
    Example(
        "one handoff_id: started 0, closed 10, started 20, ended 30; user 0-31: 1: one span 0-30",
        started(0, 20) + closed(10) + ended(30) + every_minute(0, 31),
        [Usage(30, 1, 30, 31, bot=1, users=2)],
    ),
    Example(
        "agent from 5, never ended; user 0 and 24 h 14 min after the handoff began: 2",
        started(5) + user(0, NEVER_BACK),
        [
            Usage(0, 1, 0, DAY + 15, bot=15, agent=DAY, users=1),
            Usage(0, 2, DAY + 15, NEVER_BACK, bot=4, users=1),
        ],
    ),
]


def by_the_product(events: list[dict], rules: dict) -> list[dict]:
    return sessionize(timed(events), RuleBook([RuleSet(effective_ms=0, **rules)]))


def by_the_reference(events: list[dict], rules: dict) -> list[dict]:
    return reference.sessionize(events, [{"effective_ms": 0, "account_id": None, "bot_id": None, **rules}])


ORDERS = {
    "in order": lambda events: sorted(events, key=lambda event: event["time"]),
    "as told": lambda events: events,
    "reversed": lambda events: sorted(events, key=lambda event: event["time"])[::-1],
    "shuffled": lambda events: random.Random(7).sample(events, len(events)),
    "twice": lambda events: events + events,
    "twice and shuffled": lambda events: random.Random(7).sample(events + events, 2 * len(events)),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sessionized", [by_the_product, by_the_reference])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.sentence)
def test_example(example: Example, sessionized, order: str):
    records = sessionized(ORDERS[order](example.events), example.rules)

    assert len(records) == len(example.expected)
    for record, wanted in zip(records, example.expected, strict=True):
        assert record.items() >= wanted.record().items()
