"""Conversations told in a line or two, as CloudEvents: the input of both the fast code and the reference."""

from schemas.events import Event
from schemas.times import format_time_ms, parse_time_ms
from sessionizer.facts import FactSet
from sessionizer.intake import fact_of

MINUTE = 60_000
HOUR = 60 * MINUTE
MILLISECOND = 1 / MINUTE  # as a part of a minute, for builders that count in minutes
START = parse_time_ms("2026-10-03T09:00:00.000Z")


def at(minute: float) -> int:
    """The time in ms of a minute of a story; exact to the millisecond."""
    return START + round(minute * MINUTE)


def event(type: str, time_ms: int, id: str = "", user_id: str = "u-1", channel: str = "web", **data) -> dict:
    """One event; without an id it has one of its own content."""
    id = id or f"{type} {time_ms} {user_id} {channel} {data}"
    where = {"account_id": "acme", "bot_id": "sales", "conversation_id": "c-1"}
    return {
        "specversion": "1.0",
        "id": id,
        "source": "/runtime/eu-1",
        "type": type,
        "time": format_time_ms(time_ms),
        "data": {**where, "user_id": user_id, "channel": channel, "developer": False, **data},
    }


def user(*minutes: float, **fields) -> list[dict]:
    return [event("conversation.message.v1", at(m), author="user", **fields) for m in minutes]


def bot(*minutes: float, **fields) -> list[dict]:
    return [event("conversation.message.v1", at(m), author="bot", **fields) for m in minutes]


def started(*minutes: float, handoff_id: str = "h-1", **fields) -> list[dict]:
    return [event("handoff.started.v1", at(m), handoff_id=handoff_id, **fields) for m in minutes]


def ended(*minutes: float, handoff_id: str = "h-1", **fields) -> list[dict]:
    return [event("handoff.ended.v1", at(m), handoff_id=handoff_id, **fields) for m in minutes]


def agent(start: float, end: float, handoff_id: str = "h-1") -> list[dict]:
    return started(start, handoff_id=handoff_id) + ended(end, handoff_id=handoff_id)


def closed(*minutes: float, **fields) -> list[dict]:
    return [event("conversation.closed.v1", at(m), **fields) for m in minutes]


def alert(minute: float, delivery_id: str, **fields) -> list[dict]:
    return [
        event("alert.delivered.v1", at(minute), **{"delivery_id": delivery_id, "alert_id": "a-1", **fields})
    ]


def every_minute(first: int, last: int) -> list[dict]:
    return user(*range(first, last + 1))


def timed(events: list[dict]) -> list[tuple[Event, int]]:
    """Events as the decoder hands them on."""
    return [(event, parse_time_ms(event["time"])) for event in events]


def facts(events: list[dict]) -> FactSet:
    """The set of facts of one conversation's events."""
    known = FactSet()
    for event, time_ms in timed(events):
        known.add(*fact_of(event, time_ms))
    return known
