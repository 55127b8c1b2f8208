"""Mending dead letters: what an operator sets in them, and whether they are events then. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from quarterhour.publishing import route
from schemas.decode import Rejected, check_clock, decode
from schemas.explain import read_json
from schemas.topics import Topic


class NotMended(Exception):
    """It is no event still, for the reason given."""


class Mended(NamedTuple):
    """An event to produce again."""

    topic: Topic
    key: bytes
    value: bytes


class Clock(NamedTuple):
    """Now and the bounds on an event's time, all in ms."""

    now_ms: int
    max_ahead_ms: int
    max_age_ms: int


def parse_change(text: str) -> tuple[str, Any]:
    """Read `path=value`, the value being JSON; raises ValueError that says what is wrong."""
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise ValueError(f"{text!r} is not path=value, such as data.channel='\"web\"'")
    try:
        return path, json.loads(value)
    except ValueError:
        hint = f"; a text needs double quotes: '{path}={json.dumps(value)}'"
        raise ValueError(f"{value!r} is not JSON{hint}") from None


def mend(value: bytes | None, changes: Mapping[str, Any], clock: Clock) -> Mended:
    """Set these fields and see that it is an event that may come now; raises NotMended."""
    try:
        mended = _with_changes(value, changes) if changes else value or b""
        topic, key = route(mended)
        check_clock(decode(mended, topic)[1], *clock)
    except Rejected as rejected:
        raise NotMended(str(rejected)) from None
    return Mended(topic, key, mended)


def _with_changes(value: bytes | None, changes: Mapping[str, Any]) -> bytes:
    document = read_json(value or b"")
    for path, content in changes.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise NotMended(f"{path} cannot be set: what should hold it is no object")
        place[name] = content
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
