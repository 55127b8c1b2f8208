"""What must become of an input, from the contract's page and the tests' second decoder: slow and obvious."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.outcomes import Outcome
from schemas.reasons import Reason
from schemas.topics import Topic, partition_of
from streams.reading import Contract
from tests.fuzz.inputs import Clock, Input, Key
from tests.schemas.second_decoder import verdict

DAY_MS = 86_400_000
CONTRACT = Contract(
    max_ahead_ms=300_000, max_age_ms=400 * DAY_MS, ignored_types=frozenset({"conversation.rated.v1"})
)
LATEST_MS = 9_007_199_254_740
"""The last time that PostgreSQL computes exactly: 2255-06-05T23:47:34.740Z."""

_KINDS = {
    "conversation.closed.v1": 0,
    "bot": 1,
    "user": 2,
    "handoff.ended.v1": 3,
    "handoff.started.v1": 4,
}
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class FuzzRecord:
    """See `streams.batches.Record`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Expected(NamedTuple):
    """What must become of a record; of a fact or report, its key and its parts too."""

    outcome: Outcome
    reason: str = ""
    field: str = ""
    key: bytes = b""
    taken: tuple[Any, ...] = ()


def expect(given: Input, offset: int = 0) -> tuple[FuzzRecord, Expected]:
    """Return the record of an input, and what must become of it."""
    value = given.expanded()
    found = verdict(value, given.topic)
    if not isinstance(found, int):
        reason, field = found
        return _record(given, offset, value, b"a|b|c", 0), _refused(value, reason, field)
    event = json.loads(value or b"")
    key = _key_of(event["data"], given.topic)
    record = _record(given, offset, value, key, found)
    return record, _of_event(event, found, key, record, given.partitions)


def _record(given: Input, offset: int, value: bytes | None, key: bytes, time_ms: int) -> FuzzRecord:
    timestamp_ms = given.timestamp_ms + (time_ms if given.clock is Clock.EVENT_TIME else 0)
    keys = {Key.RIGHT: key, Key.NONE: None, Key.GIVEN: given.key}
    timestamp_ms = max(-_LARGEST, min(timestamp_ms, _LARGEST))
    return FuzzRecord(offset, timestamp_ms, keys[given.key_mode], value)


def _refused(value: bytes | None, reason: Reason, field: str) -> Expected:
    if reason is Reason.UNKNOWN_TYPE and json.loads(value or b"")["type"] in CONTRACT.ignored_types:
        return Expected(Outcome.UNBILLED)
    return Expected(Outcome.DEAD_LETTER, reason.value, field)


def _of_event(
    event: dict[str, Any], time_ms: int, key: bytes, record: FuzzRecord, partitions: int
) -> Expected:
    if not 0 <= time_ms <= LATEST_MS:
        reason = Reason.TIME_AHEAD if time_ms > 0 else Reason.TIME_BEHIND
        return Expected(Outcome.DEAD_LETTER, reason, "time")
    ahead_ms = time_ms - record.timestamp
    if ahead_ms > CONTRACT.max_ahead_ms:
        return Expected(Outcome.DEAD_LETTER, Reason.TIME_AHEAD, "time")
    if -ahead_ms > CONTRACT.max_age_ms:
        return Expected(Outcome.DEAD_LETTER, Reason.TIME_BEHIND, "time")
    if record.key != key:
        return Expected(Outcome.DEAD_LETTER, Reason.WRONG_KEY)
    if partition_of(key, partitions) != 0:
        return Expected(Outcome.DEAD_LETTER, Reason.WRONG_PARTITION)
    if event["data"].get("developer", False):
        return Expected(Outcome.TEST_TRAFFIC)
    kind = event["type"]
    if kind == "conversation.message.v1":
        kind = event["data"]["author"]
    if kind in ("agent", "alert.failed.v1"):
        return Expected(Outcome.UNBILLED)
    return Expected(Outcome.FACT, key=key, taken=_taken(event, kind, time_ms))


def _taken(event: dict[str, Any], kind: str, time_ms: int) -> tuple[Any, ...]:
    """The parts of a fact or of a report."""
    data = event["data"]
    if kind == "alert.delivered.v1":
        return time_ms, data["user_id"], data["channel"]
    identity = blake2b(f"{event['source']}|{event['id']}".encode(), digest_size=8).digest()
    handoff_id = data["handoff_id"] if kind.startswith("handoff.") else ""
    return (
        *(time_ms, _KINDS[kind], int.from_bytes(identity, "big")),
        *(handoff_id, data["user_id"], data["channel"]),
    )


def _key_of(data: dict[str, Any], topic: Topic) -> bytes:
    subject = data["delivery_id" if topic is Topic.ALERT_DELIVERY else "conversation_id"]
    return "|".join((data["account_id"], data["bot_id"], subject)).encode()
