"""Whom events are about, and how an event becomes a line: by template, far faster than by json.dumps."""

from typing import NamedTuple

from quarterhour.traffic.dice import Dice
from schemas.times import format_time_ms

BOTS = (
    ("acme", "sales"),
    ("acme", "support"),
    ("acme", "returns"),
    ("globex", "helpdesk"),
    ("globex", "hr"),
    ("initech", "it-desk"),
    ("bäckerei-köhler", "bestellung"),
    ("umbrella", "triage"),
)
CHANNELS = ("web", "mobile", "whatsapp", "teams", "voice")
SOURCES = ("/runtime/eu-1", "/runtime/eu-2", "/runtime/us-1")
EASTERN_SOURCE = "/runtime/eu-2"
"""Writes its local time with an offset and microseconds, and a content type: all allowed."""
DEVELOPERS = 0.015


class Event(NamedTuple):
    """What happened, without whom it is about: a time, a type and the end of the JSON of its data."""

    time_ms: int
    type: str
    data_end: str = ""


class Subject:
    """One conversation or delivery: everything that its events' lines have in common."""

    __slots__ = ("_data", "_eastern", "_source")

    def __init__(self, source: str, data: str) -> None:
        self._eastern = source == EASTERN_SOURCE
        content_type = ',"datacontenttype":"application/json"' if self._eastern else ""
        self._source = f'","source":"{source}"{content_type},"type":"'
        self._data = f'","data":{{{data}'

    def line(self, event_id: str, event: Event) -> bytes:
        """One event as a line of JSON."""
        time_ms, kind, data_end = event
        time = _eastern_time(time_ms, event_id) if self._eastern else format_time_ms(time_ms)
        return (
            f'{{"specversion":"1.0","id":"{event_id}{self._source}{kind}","time":"{time}{self._data}{data_end}}}}}'
        ).encode()


class Subjects:
    """Draws subjects and numbers their events; ids carry the run's tag."""

    def __init__(self, dice: Dice, tag: str) -> None:
        self._dice = dice
        self._tag = tag
        self._units = 0
        self._events = 0

    def next_id(self) -> str:
        """The id of the next event."""
        self._events += 1
        return f"e-{self._tag}-{self._events}"

    def conversation(self) -> Subject:
        """The next conversation."""
        number = self._next_unit()
        return self._subject(f'"conversation_id":"c-{self._tag}-{number}"')

    def alert(self) -> Subject:
        """The next delivery of an alert."""
        number = self._next_unit()
        ids = f'"alert_id":"a-{self._tag}-{number % 50}","delivery_id":"d-{self._tag}-{number}"'
        return self._subject(ids)

    def _next_unit(self) -> int:
        self._units += 1
        return self._units

    def _subject(self, ids: str) -> Subject:
        account, bot = self._dice.one_of(BOTS)
        user, channel = self._dice.below(100_000), self._dice.one_of(CHANNELS)
        developer = ',"developer":true' if self._dice.draw() < DEVELOPERS else ""
        data = f'"account_id":"{account}","bot_id":"{bot}",{ids},"user_id":"u-{user}","channel":"{channel}"'
        return Subject(self._dice.one_of(SOURCES), data + developer)


def _eastern_time(time_ms: int, event_id: str) -> str:
    """Two hours east of UTC, with microseconds that the contract cuts off."""
    return f"{format_time_ms(time_ms + 7_200_000)[:-1]}{len(event_id):03}+02:00"
