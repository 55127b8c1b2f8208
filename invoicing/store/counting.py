"""Counting the sessions that started in given times of an account's bots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from invoicing.model import SessionKind, Slice, Span
from invoicing.store.connecting import Connection, fetch

Counting = Literal["count_sessions", "count_usage", "count_open"]
"""Of billed sessions, by their records; the same by their counts, for long times; of open ones."""


async def count(
    connection: Connection, counting: Counting, account_id: str, spans: Sequence[tuple[str, Span]]
) -> list[dict[SessionKind, int]]:
    """How many sessions of each kind started in each of these times of a bot."""
    found: list[dict[SessionKind, int]] = [{} for _ in spans]
    bots = [bot_id for bot_id, _ in spans]
    starts, ends = [span.from_ms for _, span in spans], [span.to_ms for _, span in spans]
    for row in await fetch(connection, counting, account_id, bots, starts, ends):
        found[row["place"] - 1][SessionKind(row["kind"])] = row["sessions"]
    return found


async def count_in_slices(
    connection: Connection, counting: Counting, account_id: str, slices: Sequence[Slice]
) -> list[dict[SessionKind, int]]:
    """The same by slice."""
    return await count(connection, counting, account_id, [(one.bot_id, one.during) for one in slices])
