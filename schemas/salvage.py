"""What can still be told of a record that is no event: its document, its account, what it is a replay of.

Whatever the record holds, every function here gives an answer and no exception.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic_core import from_json

from schemas.decode import MAX_VALUE_BYTES
from schemas.events import FORBIDDEN_CHARACTERS, MAX_CHARACTERS

REPLAY_HEADER: Final = "quarterhour-dead-letter"
"""Of a record produced again: the first dead letter that it comes from, as topic/partition/offset."""

_ID: Final = re.compile(f"[^{FORBIDDEN_CHARACTERS}]{{1,{MAX_CHARACTERS}}}")
_POSITION: Final = re.compile(r"[A-Za-z0-9._-]{1,249}(?:@[0-9A-Za-z:+-]{1,80}){0,2}/[0-9]{1,10}/[0-9]{1,19}")


def read_in_part(value: bytes | None) -> Any:
    """The JSON document as far as it can be read; None if nothing of it can."""
    if not value or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        return from_json(value.decode(errors="replace").removeprefix("\ufeff"), allow_partial=True)
    except ValueError:
        return None


def account_of(key: bytes | None, value: bytes | None) -> str | None:
    """The account that the document names, or else the Kafka key; None if neither has a proper one."""
    document = read_in_part(value)
    data = document.get("data") if isinstance(document, dict) else None
    named = data.get("account_id") if isinstance(data, dict) else None
    if isinstance(named, str) and _ID.fullmatch(named):
        return named
    parts = (key or b"").decode(errors="replace").split("|")
    proper = len(parts) == 3 and all("\ufffd" not in part and _ID.fullmatch(part) for part in parts)
    return parts[0] if proper else None


def replay_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The dead letter that a record's header says it comes from."""
    for name, content in headers:
        text = (content or b"").decode(errors="replace")
        if name == REPLAY_HEADER and _POSITION.fullmatch(text):
            return text
    return None
