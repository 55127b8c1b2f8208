"""Why a value is no event: the slow path of schemas.decode, taken for bad records only.

It gives the same answer for the same value for ever: the checks stand in a fixed order (README.md lists it),
and faults of fields are sorted by that order, so nothing depends on the order in which pydantic finds them.
Details hold printable ASCII only, and a small part of the input at most.
"""

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from schemas.events import FORBIDDEN_CHARACTERS, MAX_CHARACTERS, MODELS, fields_of, type_of
from schemas.reasons import Reason, Rejected
from schemas.topics import TOPIC_OF_TYPE, Topic

MAX_QUOTED_CHARACTERS: Final = 60

_POSITION_OF_FIELD: Final = {
    type_of(model): {field: position for position, field in enumerate(fields_of(model))} for model in MODELS
}
_REASON_OF_ERROR: Final = {
    "missing": Reason.MISSING_FIELD,
    "string_too_short": Reason.EMPTY_FIELD,
    "string_too_long": Reason.TOO_LONG,
    "string_pattern_mismatch": Reason.FORBIDDEN_CHARACTER,
    "literal_error": Reason.UNKNOWN_VALUE,
}
_JSON_TYPES: Final = {
    dict: "an object",
    list: "an array",
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}
_FORBIDDEN: Final = re.compile(f"[{FORBIDDEN_CHARACTERS}]")
# A pair of escaped surrogates, a lone one (captured), or any other escape.
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def read_json(value: bytes) -> Any:
    """Parse one JSON document; raises Rejected(NOT_UNICODE or NOT_JSON)."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise Rejected(Reason.NOT_UNICODE, "", f"invalid UTF-8 at byte {error.start}") from None
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if _is_json(_ESCAPE.sub(_without_lone_surrogate, text)):
            raise Rejected(Reason.NOT_UNICODE, "", "an escaped surrogate stands alone") from None
        raise Rejected(Reason.NOT_JSON, "", str(error)) from None


def explain(value: bytes, topic: Topic, error: ValidationError) -> Rejected:
    """Return the first fault of a value that failed validation, or raise it."""
    kind = _type_of_document(read_json(value))
    if TOPIC_OF_TYPE[kind] is not topic:
        return Rejected(Reason.WRONG_TOPIC, "type", f"{kind} belongs to topic {TOPIC_OF_TYPE[kind]}")
    positions = _POSITION_OF_FIELD[kind]
    faults = error.errors(include_url=False)
    return _field_fault(min(faults, key=lambda fault: positions[_path(fault)]))


def quote(text: str) -> str:
    """Return a text in printable ASCII, shortened."""
    shown = text if len(text) <= MAX_QUOTED_CHARACTERS else text[:MAX_QUOTED_CHARACTERS] + "..."
    return ascii(shown)


def _is_json(text: str) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _without_lone_surrogate(escape: re.Match[str]) -> str:
    return "?" if escape[1] else escape[0]


def _type_of_document(document: Any) -> str:
    if not isinstance(document, dict):
        raise Rejected(Reason.NOT_CLOUDEVENTS, "", f"the document is {_json_type(document)}")
    if document.get("specversion") != "1.0":
        raise Rejected(Reason.NOT_CLOUDEVENTS, "specversion", 'it must be "1.0"')
    if "type" not in document:
        raise Rejected(Reason.MISSING_FIELD, "type")
    kind = document["type"]
    if not isinstance(kind, str):
        raise Rejected(Reason.WRONG_TYPE, "type", f"it is {_json_type(kind)}")
    if kind not in TOPIC_OF_TYPE:
        raise Rejected(Reason.UNKNOWN_TYPE, "type", quote(kind))
    return kind


def _field_fault(fault: ErrorDetails) -> Rejected:
    found = fault["input"]
    reason = _REASON_OF_ERROR.get(fault["type"], Reason.WRONG_TYPE)
    if reason is Reason.UNKNOWN_VALUE and not isinstance(found, str):
        reason = Reason.WRONG_TYPE
    return Rejected(reason, _path(fault), _detail(reason, found))


def _detail(reason: Reason, found: Any) -> str:
    match reason:
        case Reason.WRONG_TYPE:
            return f"it is {_json_type(found)}"
        case Reason.TOO_LONG:
            return f"{len(found)} characters, at most {MAX_CHARACTERS} are allowed"
        case Reason.FORBIDDEN_CHARACTER:
            place = _FORBIDDEN.search(found)
            return f"U+{ord(place[0]):04X} at character {place.start() + 1}" if place else ""
        case Reason.UNKNOWN_VALUE:
            return quote(found)
        case _:
            return ""


def _path(fault: ErrorDetails) -> str:
    return ".".join(str(part) for part in fault["loc"][1:])


def _json_type(found: Any) -> str:
    return _JSON_TYPES[type(found)]
