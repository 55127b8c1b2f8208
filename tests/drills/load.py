"""The traffic of a drill: endless, known by its seed, and uglier than life.

`quarterhour.traffic` gives 1 % duplicates, 5 % disorder of up to ten minutes, conflicts and bad records.
Beside it conversations of a month ago flow first, and half a percent of all events is held back from them: by
the time these arrive, their sessions have long been final.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

from quarterhour.traffic import traffic
from tests.streams.stage import now_ms

ROUND_EVENTS = 10_000
"""The traffic repeats in kind, never in ids, after so many events."""
DAY_MS = 86_400_000
EARLIER_DAYS = (30, 11, 3, 1)
EARLIER_SHARE = 0.2
LATE_SHARE = 0.005


def endless(seed: int) -> Iterator[bytes]:
    """Yield lines for ever, round after round."""
    for number in count():
        yield from one_round(ROUND_EVENTS, seed * 1_000_000 + number, now_ms())


def one_round(events: int, seed: int, until_ms: int) -> Iterator[bytes]:
    """Yield exactly so many lines; LATE_SHARE of them are one to thirty days late."""
    dice = random.Random(seed)
    each = int(events * EARLIER_SHARE / len(EARLIER_DAYS))
    earlier = [
        line
        for days in EARLIER_DAYS
        for line in traffic(each, seed + days, until_ms - days * DAY_MS, faults=True)
    ]
    late = set(dice.sample(range(len(earlier)), round(events * LATE_SHARE)))
    yield from (line for place, line in enumerate(earlier) if place not in late)
    held_back = [earlier[place] for place in sorted(late)]
    recent = events - len(earlier)
    arrivals = sorted(dice.randrange(recent) for _ in held_back)
    for place, line in enumerate(traffic(recent, seed, until_ms, faults=True)):
        while arrivals and arrivals[0] <= place:
            arrivals.pop(0)
            yield held_back.pop()
        yield line
    yield from held_back
