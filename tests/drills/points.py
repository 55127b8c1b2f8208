"""The named points of a checkpoint, told from what its connection says to PostgreSQL. Pure.

How asyncpg speaks: BEGIN, COMMIT, COPY and statements without arguments are simple queries; others are parsed
once a connection and from then on bound by their name there. Which statement it is, the SQL files of `sinks`
tell. So the points are those of a checkpoint as it is sent, and a new statement is a new point.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

BEGIN, FENCE, PUBLISH = "before BEGIN", "before fence", "before publish_changes"
COMMIT, COMMITTED, ROLLBACK = "before COMMIT", "after COMMIT", "before ROLLBACK"

_COPY = re.compile(r'COPY "?pg_temp"?\."?(\w+)"?')


class Dialogue:
    """What one client says, as points of its transactions."""

    def __init__(self) -> None:
        self._parsed: dict[bytes, str] = {}
        self._copied = ""
        self.passed: list[str] = []
        """The points since the transaction's begin."""
        self.fence = b""
        """The message that asks to pass the fence: the owner's id is in it. Only a checkpoint has one."""

    def point(self, message: bytes) -> str | None:
        """The point that is reached when the client says this."""
        found = self._point(message[:1], message[5:])
        if found == BEGIN:
            self.passed, self.fence = [], b""
        if found == FENCE:
            self.fence = message
        if found:
            self.passed.append(found)
        return found

    def _point(self, kind: bytes, body: bytes) -> str | None:
        if kind == b"P":
            name, sql = body.split(b"\0")[:2]
            self._parsed[name] = _names().get(sql.decode(), "")
        if kind == b"B" and (named := self._parsed.get(body.split(b"\0")[1])):
            return f"before {named}"
        if kind == b"c":
            return f"within COPY {self._copied}"
        return self._query(body.rstrip(b"\0").decode()) if kind == b"Q" else None

    def _query(self, text: str) -> str | None:
        if copy := _COPY.match(text):
            self._copied = copy[1]
            return f"before COPY {self._copied}"
        if text.startswith("BEGIN"):
            return BEGIN
        if text.startswith(("COMMIT", "ROLLBACK")):
            return f"before {text.rstrip(';')}" if self.fence else None
        named = _names().get(text)
        return f"before {named}" if named else None


def most_telling_first(points: list[str]) -> list[str]:
    """The same points; a drill with few tries takes the first."""
    after_fence = points[points.index(FENCE) + 1]
    telling = [COMMIT, COMMITTED, PUBLISH, after_fence]
    return [*telling, *(point for point in points if point not in telling)]


@cache
def _names() -> dict[str, str]:
    """The names of all SQL files, by their text."""
    folder = files("sinks") / "sql"
    return {file.read_text("utf-8"): Path(file.name).stem for file in folder.iterdir()}
