"""A second decoder, written from schemas/README.md alone on the standard library: slow and obvious.

It shares no check with schemas.decode (only the names of reasons, types and topics), so that whoever writes
another decoder can see that the page is enough, and so that a change of pydantic's parser is noticed.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unicodedata import category

from schemas.reasons import Reason
from schemas.topics import TOPIC_OF_TYPE, Topic

Verdict = tuple[Reason, str] | int
"""A reason and a field, or the time of a good event."""

_ID = ("id",)
_FIELDS_OF_DATA = {
    "conversation.message.v1": "account_id bot_id conversation_id user_id channel author developer",
    "conversation.closed.v1": "account_id bot_id conversation_id user_id channel reason developer",
    "handoff.started.v1": "account_id bot_id conversation_id user_id channel handoff_id developer",
    "handoff.ended.v1": "account_id bot_id conversation_id user_id channel handoff_id developer",
    "alert.delivered.v1": "account_id bot_id user_id channel alert_id delivery_id developer",
    "alert.failed.v1": "account_id bot_id user_id channel alert_id delivery_id developer",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


class Members(list[tuple[str, Any]]):
    """A JSON object with every member as it was written, also those whose key comes again."""


class Fault(Exception):
    """A value's first fault."""

    def __init__(self, reason: Reason, field: str = "") -> None:
        super().__init__(reason, field)
        self.verdict = (reason, field)


def verdict(value: bytes | None, topic: Topic) -> Verdict:
    """Return what becomes of a value."""
    try:
        return _read_event(_read_document(value), topic)
    except Fault as fault:
        return fault.verdict


def _read_document(value: bytes | None) -> Any:
    if value is None or len(value) == 0:
        raise Fault(Reason.EMPTY_VALUE)
    if len(value) > 1024 * 1024:
        raise Fault(Reason.TOO_LARGE)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(Reason.NOT_UNICODE) from None
    try:
        document = json.loads(
            text, object_pairs_hook=Members, parse_constant=_refuse, parse_int=_number, parse_float=_number
        )
    except (ValueError, RecursionError):
        raise Fault(Reason.NOT_JSON) from None
    found = list(_walk(document))
    if any(depth > 200 for _, depth in found):
        raise Fault(Reason.NOT_JSON)
    if any(isinstance(item, str) and any(category(c) == "Cs" for c in item) for item, _ in found):
        raise Fault(Reason.NOT_UNICODE)
    return document


def _refuse(literal: str) -> Any:
    raise ValueError(literal)


def _number(literal: str) -> float:
    whole = re.split(r"[.eE]", literal.removeprefix("-"))[0]
    if len(whole) > 4300:
        raise ValueError("too many digits")
    return 0.5


def _walk(document: Any) -> Iterator[tuple[Any, int]]:
    """Yield every key and value with the number of arrays and objects around it."""
    waiting = [(document, 0)]
    while waiting:
        item, depth = waiting.pop()
        yield item, depth
        if isinstance(item, Members):
            waiting += [(part, depth + 1) for member in item for part in member]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]


def _read_event(document: Any, topic: Topic) -> int:
    if not isinstance(document, Members):
        raise Fault(Reason.NOT_CLOUDEVENTS)
    event = dict(document)
    if event.get("specversion") != "1.0":
        raise Fault(Reason.NOT_CLOUDEVENTS, "specversion")
    kind = _text(event, "type")
    if kind not in _FIELDS_OF_DATA:
        raise Fault(Reason.UNKNOWN_TYPE, "type")
    if TOPIC_OF_TYPE[kind] != topic:
        raise Fault(Reason.WRONG_TOPIC, "type")
    _id(event, "id")
    _id(event, "source")
    time = _text(event, "time")
    if not isinstance(_required(event, "data"), Members):
        raise Fault(Reason.WRONG_TYPE, "data")
    data = {f"data.{key}": found for key, found in dict(event["data"]).items()}
    for name in _FIELDS_OF_DATA[kind].split():
        _field_of_data(data, f"data.{name}")
    return _time_ms(time)


def _field_of_data(data: dict[str, Any], field: str) -> None:
    match field:
        case "data.developer":
            if not isinstance(data.get(field, False), bool):
                raise Fault(Reason.WRONG_TYPE, field)
        case "data.reason":
            if field in data and len(_text(data, field)) > 200:
                raise Fault(Reason.TOO_LONG, field)
        case "data.author":
            if _text(data, field) not in ("user", "bot", "agent"):
                raise Fault(Reason.UNKNOWN_VALUE, field)
        case _:
            _id(data, field)


def _required(fields: dict[str, Any], field: str) -> Any:
    if field not in fields:
        raise Fault(Reason.MISSING_FIELD, field)
    return fields[field]


def _text(fields: dict[str, Any], field: str) -> str:
    found = _required(fields, field)
    if not isinstance(found, str):
        raise Fault(Reason.WRONG_TYPE, field)
    return found


def _id(fields: dict[str, Any], field: str) -> None:
    text = _text(fields, field)
    if not text:
        raise Fault(Reason.EMPTY_FIELD, field)
    if len(text) > 200:
        raise Fault(Reason.TOO_LONG, field)
    if any(character == "|" or category(character) == "Cc" for character in text):
        raise Fault(Reason.FORBIDDEN_CHARACTER, field)


def _time_ms(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise Fault(Reason.INVALID_TIME, "time")
    *calendar, fraction, sign, hours, minutes = match.groups()
    milliseconds = int(((fraction or "") + "000")[:3])
    if sign and (int(hours) > 23 or int(minutes) > 59):
        raise Fault(Reason.INVALID_TIME, "time")
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    try:
        moment = datetime(*map(int, calendar), milliseconds * 1000, timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Fault(Reason.INVALID_TIME, "time") from None
    return (moment - _EPOCH) // timedelta(milliseconds=1)
