"""What happens in one conversation or to one alert: the events in time order, drawn at random.

The shares below are per conversation unless they say otherwise; a conversation has about 25 events.
"""

from quarterhour.traffic.dice import Dice
from quarterhour.traffic.subjects import Event

MESSAGE, CLOSED = "conversation.message.v1", "conversation.closed.v1"
STARTED, ENDED = "handoff.started.v1", "handoff.ended.v1"
DELIVERED, FAILED = "alert.delivered.v1", "alert.failed.v1"
USER, BOT, AGENT = ',"author":"user"', ',"author":"bot"', ',"author":"agent"'

GREETED = 0.6
UNANSWERED = 0.03
HANDED_OFF = 0.105
HANDED_OFF_AGAIN = 0.2  # of those handed off
NEVER_HANDED_BACK = 0.15  # of handoffs
CLOSED_AT_END = 0.4
CLOSED_EARLY = 0.02
PAUSED = 0.008  # of turns: longer than the idle timeout
HESITATED = 0.008  # of turns: nearly as long
PACES_MS = (15_000, 30_000, 30_000, 60_000, 60_000, 90_000, 150_000)
MINUTE_MS = 60_000


class _Script:
    """The events so far, and the moment the conversation has reached."""

    __slots__ = ("dice", "draw", "events", "handoffs", "now_ms")

    def __init__(self, dice: Dice, start_ms: int) -> None:
        self.dice = dice
        self.draw = dice.draw
        self.now_ms = start_ms
        self.events: list[Event] = []
        self.handoffs = 0

    def add(self, kind: str, data_end: str) -> None:
        self.events.append(Event(self.now_ms, kind, data_end))

    def wait(self, least_ms: int, most_ms: int) -> None:
        self.now_ms += self.dice.between(least_ms, most_ms)


def conversation(dice: Dice, start_ms: int) -> list[Event]:
    """A conversation with a bot: some turns, perhaps a human agent, perhaps a close."""
    script = _Script(dice, start_ms)
    draw = dice.draw
    if draw() < UNANSWERED:
        return _unanswered(script)
    if draw() < GREETED:
        script.add(MESSAGE, BOT)
        script.wait(1_000, 60_000)
    pace_ms = dice.one_of(PACES_MS)
    turns = dice.between(2, 11) + dice.between(1, 10)
    if draw() < HANDED_OFF:
        _with_handoffs(script, turns, pace_ms)
    else:
        _chat(script, turns, pace_ms)
    if draw() < CLOSED_AT_END:
        _close(script)
    return script.events


def alert(dice: Dice, start_ms: int) -> list[Event]:
    """One delivery: mostly one report, sometimes one more, sometimes failures, rarely only those."""
    script = _Script(dice, start_ms)
    draw = dice.draw
    if draw() < 0.1:
        script.add(FAILED, "")
        script.wait(1_000, 5 * MINUTE_MS)
        if draw() < 0.4:
            return script.events
    script.add(DELIVERED, "")
    if draw() < 0.1:
        if draw() < 0.5:  # else the report is sent again with the very same time
            script.wait(1_000, 5 * MINUTE_MS)
        script.add(DELIVERED, "")
    return script.events


def _unanswered(script: _Script) -> list[Event]:
    script.add(MESSAGE, BOT)
    if script.draw() < 0.5:
        script.wait(MINUTE_MS, 10 * MINUTE_MS)
        script.add(MESSAGE, BOT)
    return script.events


def _chat(script: _Script, turns: int, pace_ms: int) -> None:
    """Turns of a user's message and the bot's answer, with a pause now and then."""
    draw, events = script.draw, script.events
    least_ms, spread_ms = pace_ms // 3, pace_ms * 4 // 3
    for _ in range(turns):
        events.append(Event(script.now_ms, MESSAGE, USER))
        answered_ms = script.now_ms + 400 + int(draw() * 3_000)
        events.append(Event(answered_ms, MESSAGE, BOT))
        script.now_ms = answered_ms + least_ms + int(draw() * spread_ms)
        if draw() < PAUSED + HESITATED:
            _pause(script)


def _pause(script: _Script) -> None:
    """The user falls silent; the bot may remind them, before or after the idle timeout has passed."""
    if script.draw() < PAUSED / (PAUSED + HESITATED):
        script.wait(15 * MINUTE_MS, 90 * MINUTE_MS)
    else:
        script.wait(10 * MINUTE_MS, 14 * MINUTE_MS)
    if script.draw() < 0.3:
        script.add(MESSAGE, BOT)
        script.wait(1_000, 2 * MINUTE_MS)


def _with_handoffs(script: _Script, turns: int, pace_ms: int) -> None:
    before = script.dice.between(1, turns)
    _chat(script, before, pace_ms)
    if script.draw() < CLOSED_EARLY:
        _close(script)
    returned = _handoff(script)
    if returned:
        _chat(script, turns - before, pace_ms)
    if script.draw() < HANDED_OFF_AGAIN and _handoff(script) and script.draw() < 0.5:
        _chat(script, 2, pace_ms)


def _handoff(script: _Script) -> bool:
    """A human agent takes over and talks with the user; whether the bot gets the conversation back."""
    script.handoffs += 1
    handoff = f',"handoff_id":"h-{script.handoffs}"'
    script.add(STARTED, handoff)
    for _ in range(script.dice.between(2, 7)):
        script.wait(5_000, 4 * MINUTE_MS)
        script.add(MESSAGE, AGENT)
        script.wait(5_000, 4 * MINUTE_MS)
        script.add(MESSAGE, USER)
    if script.draw() < NEVER_HANDED_BACK:
        return False
    script.wait(1_000, 2 * MINUTE_MS)
    script.add(ENDED, handoff)
    script.wait(1_000, 30_000)
    return True


def _close(script: _Script) -> None:
    script.add(CLOSED, ',"reason":"solved"' if script.draw() < 0.5 else "")
    script.wait(1_000, MINUTE_MS)
