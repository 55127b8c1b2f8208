"""Realistic events to try Quarterhour with: generated, in about the order in which a log would hold them.

The bytes depend on the number of events, the seed and the time alone, on every machine. Ids carry a tag drawn
from all three, so that two runs share no conversation unless they are the same run.
"""

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from quarterhour.traffic import hostile as hostile_traffic
from quarterhour.traffic.dice import Dice
from quarterhour.traffic.faults import FAULTS, spoil
from quarterhour.traffic.scripts import alert, conversation
from quarterhour.traffic.subjects import Event, Subject, Subjects

HOUR_MS = 3_600_000
PERIOD_MS = 8 * HOUR_MS
"""Conversations begin between this long before the end and half an hour before it, so that most finish."""
LAST_START_MS = HOUR_MS // 2

ALERTS = 0.25  # of all units; the others are conversations
DISPLACED, DISPLACED_MS = 0.05, 10 * 60_000
COPIED, COPIED_MS = 0.01, HOUR_MS // 2
CONFLICTING = 0.0005
FAULTY = 0.001
TRANSPORT_MS = 250

Arrival = tuple[int, bytes]
"""When an event arrives, in ms, and its line."""


def traffic(
    events: int, seed: int, until_ms: int, *, faults: bool = False, hostile: bool = False
) -> Iterator[bytes]:
    """Yield exactly this many events as lines of JSON without line ends, none of them later than `until_ms`.

    `faults` makes about one in a thousand a bad record; `hostile` makes small, ugly traffic instead, which
    hits every limit of the billing rule (coarse times, ties, copies, conflicts, all shuffled).
    """
    dice = Dice(f"{events}|{seed}|{until_ms}")
    tag = f"{dice.below(1 << 32):08x}"
    if hostile:
        return hostile_traffic.traffic(dice, tag, events, until_ms)
    period = Period(until_ms - PERIOD_MS, until_ms - LAST_START_MS, until_ms)
    return (line for _, line in _in_order(_Run(dice, tag, events, period, faults)))


def live_traffic(
    rate: int, seed: int, from_ms: int, *, speed: int = 1, faults: bool = False
) -> Iterator[Arrival]:
    """Yield events with the moments at which they arrive, as they flow from `from_ms` on, for a hundred days.

    Once the first conversations have ended, about `rate` arrive in a second. `speed` is how many times as
    quick as in life people talk; disorder and copies take as long as ever.
    """
    until_ms = from_ms + 2400 * HOUR_MS
    events = rate * (until_ms - from_ms) // 1000
    dice = Dice(f"{rate}|{seed}|{from_ms}|{speed}")
    tag = f"{dice.below(1 << 32):08x}"
    return _as_it_happens(_Run(dice, tag, events, Period(from_ms, until_ms, until_ms, speed), faults))


class Period(NamedTuple):
    """When units begin, when all ends, and how many times as quick as in life their events follow."""

    first_start_ms: int
    last_start_ms: int
    until_ms: int
    speed: int = 1


class _Run:
    """One run of the generator: how far it is, and what has been drawn and has not arrived yet."""

    def __init__(self, dice: Dice, tag: str, events: int, period: Period, faults: bool) -> None:
        self.dice = dice
        self.draw = dice.draw
        self.subjects = Subjects(dice, tag)
        self.events = events
        self.planned = 0
        self.period = period
        self.faulty = FAULTY if faults else 0.0
        self.faults_made = 0

    def next_start_ms(self) -> int:
        """When the next unit begins; no later unit has an event before it."""
        period = self.period
        span_ms = period.last_start_ms - period.first_start_ms
        return period.first_start_ms + span_ms * self.planned // self.events

    def plan_unit(self) -> list[Arrival]:
        """Draw one conversation or alert: the arrivals of its records, at most as many as are missing."""
        start_ms = self.next_start_ms()
        if self.draw() < ALERTS:
            subject, script = self.subjects.alert(), alert(self.dice, start_ms)
        else:
            subject, script = self.subjects.conversation(), conversation(self.dice, start_ms)
        arrivals: list[Arrival] = []
        for event in self._at_speed(script, start_ms):
            if event.time_ms <= self.period.until_ms:
                self._deliver(subject, event, arrivals)
        arrivals.sort()
        del arrivals[self.events - self.planned :]
        self.planned += len(arrivals)
        return arrivals

    def _at_speed(self, script: list[Event], start_ms: int) -> list[Event]:
        speed = self.period.speed
        if speed == 1:
            return script
        return [Event(start_ms + (time_ms - start_ms) // speed, *rest) for time_ms, *rest in script]

    def _deliver(self, subject: Subject, event: Event, arrivals: list[Arrival]) -> None:
        """Add the arrivals of one event: prompt or displaced, perhaps with a second record later."""
        event_id = self.subjects.next_id()
        line = subject.line(event_id, event)
        arrival_ms = event.time_ms + self.dice.below(TRANSPORT_MS)
        chance = self.draw()
        if chance < DISPLACED:
            arrival_ms += self.dice.below(DISPLACED_MS)
        arrivals.append((arrival_ms, line))
        chance -= DISPLACED
        if 0 <= chance < COPIED + CONFLICTING + self.faulty:
            later_ms = arrival_ms + self.dice.below(COPIED_MS)
            arrivals.append((later_ms, self._second(chance, subject, event_id, event, line)))

    def _second(self, chance: float, subject: Subject, event_id: str, event: Event, line: bytes) -> bytes:
        """A further record beside an event's first: an exact copy, a conflicting one or a bad one."""
        if chance < COPIED:
            return line
        if chance < COPIED + CONFLICTING:
            return subject.line(event_id, event._replace(time_ms=event.time_ms - 1 - self.dice.below(60_000)))
        self.faults_made += 1
        return spoil(line, FAULTS[self.faults_made % len(FAULTS)])


def _as_it_happens(run: _Run) -> Iterator[Arrival]:
    """Yield lines by arrival, none long in coming: slower than `_in_order`, which plans far ahead."""
    waiting: list[Arrival] = []
    while run.planned < run.events:
        for arrival in run.plan_unit():
            heappush(waiting, arrival)
        start_ms = run.next_start_ms()
        while waiting and waiting[0][0] < start_ms:
            yield heappop(waiting)


def _in_order(run: _Run) -> Iterator[Arrival]:
    """Yield lines by arrival; held back are only those that a unit yet to come may precede."""
    waiting: list[Arrival] = []
    while run.planned < run.events:
        goal = min(run.events, run.planned + max(10_000, len(waiting)))
        while run.planned < goal:
            waiting += run.plan_unit()
        waiting.sort()
        arrived = bisect_left(waiting, (run.next_start_ms(), b""))
        yield from islice(waiting, arrived)
        del waiting[:arrived]
    yield from waiting
