"""Small and ugly traffic for tests: hits the limits of the billing rule, which realistic traffic seldom does.

Times lie on a coarse grid, now and then a millisecond beside it; handoffs, users and ids are few, so that
ties, exact limits, nested, touching and endless handoffs, copies and conflicts are the common case; and all
is shuffled. Every line is valid.
"""

from collections.abc import Iterator

from quarterhour.traffic.dice import Dice
from quarterhour.traffic.scripts import (
    AGENT,
    BOT,
    CLOSED,
    DELIVERED,
    ENDED,
    FAILED,
    MESSAGE,
    STARTED,
    USER,
)
from quarterhour.traffic.subjects import Event, Subject

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
PERIOD_MS = 3 * DAY_MS
EVENTS_IN_CONVERSATION = 16
EDGES_MS = (0, 0, 0, 0, 1, -1)
# Steps and reach of the time grids; each conversation has one.
GRIDS_MS = (
    (MINUTE_MS, 40 * MINUTE_MS),
    (5 * MINUTE_MS, 120 * MINUTE_MS),
    (DAY_MS // 4, PERIOD_MS - DAY_MS // 4),
)
KINDS = (
    *[(MESSAGE, USER)] * 10,
    *[(MESSAGE, BOT)] * 6,
    (MESSAGE, AGENT),
    *[(STARTED, ',"handoff_id":"h-1"')] * 2,
    (STARTED, ',"handoff_id":"h-2"'),
    *[(ENDED, ',"handoff_id":"h-1"')] * 2,
    (ENDED, ',"handoff_id":"h-2"'),
    *[(CLOSED, "")] * 2,
)


def traffic(dice: Dice, tag: str, events: int, until_ms: int) -> Iterator[bytes]:
    """Yield exactly this many lines, shuffled."""
    lines: list[bytes] = []
    first_ms = (until_ms - PERIOD_MS) // MINUTE_MS * MINUTE_MS
    number = 0
    while len(lines) < events:
        number += 1
        make = _alert if dice.draw() < 0.2 else _conversation
        lines += make(dice, f"{tag}-{number}", first_ms)
    del lines[events:]
    dice.shuffle(lines)
    return iter(lines)


def _conversation(dice: Dice, name: str, first_ms: int) -> list[bytes]:
    step_ms, reach_ms = dice.one_of(GRIDS_MS)
    lines: list[bytes] = []
    for _ in range(dice.between(1, 2 * EVENTS_IN_CONVERSATION)):
        kind, data_end = dice.one_of(KINDS)
        time_ms = first_ms + step_ms * dice.below(reach_ms // step_ms + 1) + dice.one_of(EDGES_MS)
        subject = _subject(dice, f'"conversation_id":"c-{name}"')
        # So few ids that one in about ten is taken already: a conflict, or by chance a copy.
        event_id = f"e-{dice.below(10 * EVENTS_IN_CONVERSATION)}"
        lines += [subject.line(event_id, Event(time_ms, kind, data_end))] * (1 + (dice.draw() < 0.15))
    return lines


def _alert(dice: Dice, name: str, first_ms: int) -> list[bytes]:
    lines: list[bytes] = []
    for _ in range(dice.between(1, 4)):
        subject = _subject(dice, f'"alert_id":"a-1","delivery_id":"d-{name}"')
        kind = FAILED if dice.draw() < 0.2 else DELIVERED
        time_ms = first_ms + dice.below(3) * MINUTE_MS
        lines.append(subject.line(f"e-{dice.below(8)}", Event(time_ms, kind)))
    return lines


def _subject(dice: Dice, ids: str) -> Subject:
    """Of one account and bot; the user, the channel, the source and the flag differ from event to event."""
    user, channel = dice.one_of(("u-1", "u-1", "u-2")), dice.one_of(("web", "web", "voice"))
    developer = ',"developer":true' if dice.draw() < 0.03 else ""
    source = dice.one_of(("/runtime/eu-1", "/runtime/eu-1", "/runtime/eu-2"))
    return Subject(
        source,
        f'"account_id":"acme","bot_id":"sales",{ids},"user_id":"{user}","channel":"{channel}"{developer}',
    )
