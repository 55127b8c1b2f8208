"""The records of one seed: short conversations and alerts, delivered twice, late, in disorder and spoilt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from quarterhour.traffic.faults import FAULTS, spoil
from quarterhour.traffic.scripts import AGENT, BOT, CLOSED, DELIVERED, ENDED, FAILED, MESSAGE, STARTED, USER
from quarterhour.traffic.subjects import Event, Subject
from schemas.reasons import Reason
from schemas.topics import Topic, partition_of
from sinks.ledger import SourcePartition
from tests.simulation.kafka import PARTITIONS

START_MS = 1_790_769_600_000  # 2026-09-30T12:00:00Z
MINUTE_MS = 60_000
DAY_MS = 86_400_000
# Around the limits of the rules in force: block 4 min, idle timeout 5 min.
STEPS_MS = (20_000, MINUTE_MS, 2 * MINUTE_MS, 4 * MINUTE_MS, 5 * MINUTE_MS, 5 * MINUTE_MS + 1, 12 * MINUTE_MS)
HANDOFF = ',"handoff_id":"h-1"'
KINDS = (
    *[(MESSAGE, USER)] * 9,
    *[(MESSAGE, BOT)] * 4,
    (MESSAGE, AGENT),
    (STARTED, HANDOFF),
    (ENDED, HANDOFF),
    (CLOSED, ""),
)
TOPICS = {STARTED: Topic.AGENT_HANDOFF, ENDED: Topic.AGENT_HANDOFF}
TOPICS |= {DELIVERED: Topic.ALERT_DELIVERY, FAILED: Topic.ALERT_DELIVERY}

COPIED = 0.15
CONFLICTING = 0.05
SPOILT = 0.04
DISPLACED, DISPLACED_MS = 0.15, 25 * MINUTE_MS
LATE, LATE_DAYS = 0.06, (1, 2, 3, 4, 5, 6, 14, 28)
MAX_AGE_MS = 5 * DAY_MS + DAY_MS // 2
RESUMED, RESUMED_MS = 0.06, 8 * DAY_MS
DEVELOPER = 0.03


class Arrival(NamedTuple):
    """A record on its way: when it comes, where to, and why it must be refused (empty: it must not)."""

    at_ms: int
    number: int
    source: SourcePartition
    key: bytes
    value: bytes | None
    reason: str

    @property
    def event(self) -> Any:
        """The event that it is."""
        return json.loads(self.value or b"")


def arrivals(dice: Random) -> list[Arrival]:
    """All records of a seed in the order of their arrival."""
    found: list[Arrival] = []
    for number in range(dice.randint(4, 8)):
        for subject, key, event_id, event in _conversation(dice, f"c-{number}"):
            found += _deliver(dice, len(found), subject, key, event_id, event)
    for number in range(dice.randint(1, 3)):
        for subject, key, event_id, event in _alert(dice, f"d-{number}"):
            found += _deliver(dice, len(found), subject, key, event_id, event)
    return sorted(found, key=_arrived)


Sent = tuple[Subject, bytes, str, Event]


def _conversation(dice: Random, name: str) -> Iterator[Sent]:
    time_ms = START_MS + dice.randrange(40) * MINUTE_MS
    for number in range(dice.randint(2, 12)):
        kind, data_end = dice.choice(KINDS)
        subject = _subject(dice, f'"conversation_id":"{name}"')
        yield subject, f"acme|sales|{name}".encode(), f"e-{number}", Event(time_ms, kind, data_end)
        time_ms += RESUMED_MS if dice.random() < RESUMED else dice.choice(STEPS_MS)


def _alert(dice: Random, name: str) -> Iterator[Sent]:
    for number in range(dice.randint(1, 4)):
        kind = FAILED if dice.random() < 0.2 else DELIVERED
        subject = _subject(dice, f'"alert_id":"a-1","delivery_id":"{name}"')
        time_ms = START_MS + dice.randrange(60) * MINUTE_MS
        yield subject, f"acme|sales|{name}".encode(), f"e-{number}", Event(time_ms, kind)


def _subject(dice: Random, ids: str) -> Subject:
    user = dice.choice(("u-1", "u-1", "u-2"))
    developer = ',"developer":true' if dice.random() < DEVELOPER else ""
    data = f'"account_id":"acme","bot_id":"sales",{ids},"user_id":"{user}","channel":"web"{developer}'
    return Subject("/test", data)


def _deliver(
    dice: Random, number: int, subject: Subject, key: bytes, event_id: str, event: Event
) -> Iterator[Arrival]:
    """The record of an event, and maybe a second one: a copy, a conflicting one or a bad one."""
    topic = TOPICS.get(event.type, Topic.CONVERSATION)
    line = subject.line(event_id, event)
    yield _arrival(dice, number, event.time_ms, topic, key, line, "")
    chance = dice.random()
    if chance < COPIED:
        yield _arrival(dice, number + 1, event.time_ms, topic, key, line, "")
    elif chance < COPIED + CONFLICTING:
        other = subject.line(event_id, event._replace(time_ms=event.time_ms - dice.randrange(MINUTE_MS)))
        yield _arrival(dice, number + 1, event.time_ms, topic, key, other, "")
    elif chance < COPIED + CONFLICTING + SPOILT:
        value, reason = _bad(dice, line)
        yield _arrival(dice, number + 1, event.time_ms, Topic.CONVERSATION, key, value, reason)


def _bad(dice: Random, line: bytes) -> tuple[bytes | None, str]:
    if dice.random() < 0.1:
        return None, Reason.EMPTY_VALUE.value
    fault = dice.choice(FAULTS)
    return spoil(line, fault), fault.reason.value


def _arrival(
    dice: Random, number: int, time_ms: int, topic: Topic, key: bytes, value: bytes | None, reason: str
) -> Arrival:
    at_ms, chance = time_ms + dice.randrange(2_000), dice.random()
    if chance < DISPLACED:
        at_ms += dice.randrange(DISPLACED_MS)
    elif chance < DISPLACED + LATE and not reason:
        late_ms = dice.choice(LATE_DAYS) * DAY_MS
        at_ms += late_ms
        reason = Reason.TIME_BEHIND.value if late_ms > MAX_AGE_MS else ""
    source = SourcePartition(str(topic), partition_of(key, PARTITIONS))
    return Arrival(at_ms, number, source, key, value, reason)


def _arrived(arrival: Arrival) -> tuple[int, int]:
    return arrival.at_ms, arrival.number
