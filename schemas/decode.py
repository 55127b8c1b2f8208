"""Bytes of a Kafka record to a validated event and its time, or the reason why not.

A valid event takes the shortest way through here; what is wrong with a bad one is worked out in
schemas.explain. Pure: no I/O, no clock. Every value gives an event or Rejected, never another exception.
"""

from collections.abc import Callable
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.events import AlertEvent, ConversationEvent, Event, HandoffEvent
from schemas.explain import explain, quote, read_json
from schemas.reasons import Reason, Rejected
from schemas.times import parse_time_ms
from schemas.topics import Topic, partition_of

__all__ = [
    "LAST_TIME_MS",
    "MAX_VALUE_BYTES",
    "Rejected",
    "check_clock",
    "check_key",
    "check_partition",
    "decode",
    "parse_time_ms",
]

MAX_VALUE_BYTES: Final = 1_048_576
LAST_TIME_MS: Final = (1 << 53) // 1000
"""Of an event in Kafka, the first being 0: within these PostgreSQL's arithmetic of time is exact."""

# Names of fields come again and again, texts hardly ever: a cache of texts costs more than it saves.
_CONFIG: Final = ConfigDict(cache_strings="keys")
_VALIDATE: Final[dict[Topic, Callable[[bytes], Event]]] = {
    Topic.CONVERSATION: TypeAdapter(ConversationEvent, config=_CONFIG).validator.validate_json,
    Topic.AGENT_HANDOFF: TypeAdapter(HandoffEvent, config=_CONFIG).validator.validate_json,
    Topic.ALERT_DELIVERY: TypeAdapter(AlertEvent, config=_CONFIG).validator.validate_json,
}
_N, _I = b"NI"


def decode(value: bytes | None, topic: Topic) -> tuple[Event, int]:
    """Validate a record's value; return the event and its time in ms since 1970 UTC, or raise Rejected."""
    if not value:
        raise Rejected(Reason.EMPTY_VALUE)
    if len(value) > MAX_VALUE_BYTES:
        raise Rejected(Reason.TOO_LARGE, "", f"{len(value)} bytes, at most {MAX_VALUE_BYTES} are allowed")
    try:
        event = _VALIDATE[topic](value)
    except ValidationError as error:
        raise explain(value, topic, error) from None
    # pydantic takes NaN and Infinity as numbers in a field that it ignores; one byte is found fastest.
    if (_N in value and b"NaN" in value) or (_I in value and b"Infinity" in value):
        read_json(value)
    return event, parse_time_ms(event["time"])


def check_clock(time_ms: int, timestamp_ms: int, max_ahead_ms: int, max_age_ms: int) -> None:
    """Compare an event's time with its Kafka timestamp; raises Rejected(TIME_AHEAD or TIME_BEHIND).

    A time that cannot be kept is ahead or behind whatever the timestamp.
    """
    if time_ms > LAST_TIME_MS:
        raise Rejected(Reason.TIME_AHEAD, "time", "after 2255-06-05")
    if time_ms < 0:
        raise Rejected(Reason.TIME_BEHIND, "time", "before 1970")
    ahead_ms = time_ms - timestamp_ms
    if ahead_ms > max_ahead_ms:
        raise Rejected(Reason.TIME_AHEAD, "time", f"{ahead_ms} ms ahead, at most {max_ahead_ms} are allowed")
    if -ahead_ms > max_age_ms:
        raise Rejected(Reason.TIME_BEHIND, "time", f"{-ahead_ms} ms behind, at most {max_age_ms} are allowed")


def check_key(right: bytes, key: bytes | None) -> None:
    """Compare a record's key with the one that follows from its event; raises Rejected(WRONG_KEY)."""
    if key != right:
        shown = "none" if key is None else quote(key.decode(errors="replace"))
        raise Rejected(Reason.WRONG_KEY, "", f"{shown}, expected {quote(right.decode())}")


def check_partition(key: bytes, partition: int, partitions: int) -> None:
    """Compare a record's partition with its key's; raises Rejected(WRONG_PARTITION)."""
    right = partition_of(key, partitions)
    if partition != right:
        detail = f"partition {partition}, expected {right} of {partitions}"
        raise Rejected(Reason.WRONG_PARTITION, "", detail)
