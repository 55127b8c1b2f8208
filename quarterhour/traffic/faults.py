"""Bad records of many kinds, each with the reason for which it must be refused."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.reasons import Reason

Change = Callable[[dict[str, Any]], Any]


class Fault(NamedTuple):
    """One kind of bad record: `change` alters a good event's JSON, `damage` then its bytes."""

    name: str
    reason: Reason
    change: Change
    damage: Callable[[bytes], bytes] = bytes


def spoil(line: bytes, fault: Fault) -> bytes:
    """A bad record with an id of its own, made from any good line."""
    event = json.loads(line)
    event["id"] = f"bad-{event['id']}"
    event["type"] = "conversation.message.v1"
    data = event["data"]
    event["data"] = {
        "account_id": data["account_id"],
        "bot_id": data["bot_id"],
        "conversation_id": data.get("conversation_id") or data["delivery_id"],
        "user_id": data["user_id"],
        "channel": data["channel"],
        "author": "user",
    }
    fault.change(event)
    return fault.damage(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode())


def _keep(event: dict[str, Any]) -> None:
    """Leave the event as it is."""


def _set(path: str, value: object) -> Change:
    def change(event: dict[str, Any]) -> None:
        part, _, name = path.rpartition(".")
        (event[part] if part else event)[name] = value

    return change


def _drop(path: str) -> Change:
    def change(event: dict[str, Any]) -> None:
        part, _, name = path.rpartition(".")
        del (event[part] if part else event)[name]

    return change


FAULTS = (
    Fault("cut off", Reason.NOT_JSON, _keep, lambda line: line[: len(line) * 2 // 3]),
    Fault("not JSON at all", Reason.NOT_JSON, _keep, lambda line: b"conversation of " + line[10:40]),
    Fault("two documents", Reason.NOT_JSON, _keep, lambda line: line + line),
    Fault("not a number", Reason.NOT_JSON, _set("data.score", float("nan"))),
    Fault("not UTF-8", Reason.NOT_UNICODE, _keep, lambda line: line.replace(b'"user"', b'"us\xffer"')),
    Fault("lone surrogate", Reason.NOT_UNICODE, _keep, lambda line: line.replace(b"bad-", b"bad-\\ud83d")),
    Fault("an array", Reason.NOT_CLOUDEVENTS, _keep, lambda line: b"[" + line + b"]"),
    Fault("old CloudEvents", Reason.NOT_CLOUDEVENTS, _set("specversion", "0.3")),
    Fault("no specversion", Reason.NOT_CLOUDEVENTS, _drop("specversion")),
    Fault("unknown type", Reason.UNKNOWN_TYPE, _set("type", "conversation.rated.v1")),
    Fault("no conversation", Reason.MISSING_FIELD, _drop("data.conversation_id")),
    Fault("no time", Reason.MISSING_FIELD, _drop("time")),
    Fault("no data", Reason.MISSING_FIELD, _drop("data")),
    Fault("account is a number", Reason.WRONG_TYPE, _set("data.account_id", 17)),
    Fault("user is null", Reason.WRONG_TYPE, _set("data.user_id", None)),
    Fault("data is a text", Reason.WRONG_TYPE, _set("data", "hello")),
    Fault("developer is a text", Reason.WRONG_TYPE, _set("data.developer", "yes")),
    Fault("empty bot", Reason.EMPTY_FIELD, _set("data.bot_id", "")),
    Fault("overlong id", Reason.TOO_LONG, _set("id", "x" * 201)),
    Fault("bar in an id", Reason.FORBIDDEN_CHARACTER, _set("data.conversation_id", "c|1")),
    Fault("NUL in an id", Reason.FORBIDDEN_CHARACTER, _set("data.user_id", "u-\0")),
    Fault("unknown author", Reason.UNKNOWN_VALUE, _set("data.author", "robot")),
    Fault("time without offset", Reason.INVALID_TIME, _set("time", "2026-10-03T09:00:00")),
    Fault("February 30", Reason.INVALID_TIME, _set("time", "2026-02-30T09:00:00Z")),
    Fault("time in words", Reason.INVALID_TIME, _set("time", "yesterday")),
    Fault("far future", Reason.TIME_AHEAD, _set("time", "2999-01-01T00:00:00.000Z")),
    Fault("ancient", Reason.TIME_BEHIND, _set("time", "1999-12-31T23:59:59.999Z")),
)
"""Refused by schemas.decode.decode; the last two by check_clock, whenever they are published."""
