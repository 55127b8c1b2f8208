"""Boundaries of billing periods: the anchor's wall clock time, so many months or years later.

Always counted from the anchor, so the 31st comes back after a shorter month and nothing drifts. Times are ms
since 1970 UTC; a wall clock time is a naive datetime. The computer's own time zone is never asked.
"""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import count, pairwise
from typing import Final
from zoneinfo import ZoneInfo

from invoicing.model import Span, Unit
from invoicing.zones import zone as zone_named

Moves = tuple[tuple[int, str], ...]
"""An account's time zones and from when on, in that order; before the first one's time it is in force too."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MONTHS: Final[dict[Unit, int]] = {"month": 1, "year": 12}


def zone_at(moves: Moves, at_ms: int) -> str:
    """Tell the zone in force at a time; a move is in force from its very ms on."""
    return moves[max(0, bisect_right(moves, at_ms, key=lambda move: move[0]) - 1)][1]


def anchor_wall(anchor_ms: int, zone: ZoneInfo) -> datetime:
    """Tell what the clock showed at the anchor."""
    return (_EPOCH + timedelta(milliseconds=anchor_ms)).astimezone(zone).replace(tzinfo=None, fold=0)


def boundary(wall: datetime, unit: Unit, k: int, zone: ZoneInfo) -> int:
    """Give boundary k of an anchor that was at this wall clock time, read in this zone."""
    years, month = divmod(wall.month - 1 + k * _MONTHS[unit], 12)
    year = wall.year + years
    day = min(wall.day, monthrange(year, month + 1)[1])
    return _read(wall.replace(year=year, month=month + 1, day=day), zone)


def next_boundary(wall: datetime, unit: Unit, k: int, starts_ms: int, moves: Moves) -> int:
    """Give the end of period k, which starts at `starts_ms`: boundary k + 1 in the zone in force there."""
    return boundary(wall, unit, k + 1, zone_named(zone_at(moves, starts_ms)))


def boundaries(anchor_ms: int, unit: Unit, moves: Moves) -> Iterator[int]:
    """Give the anchor, and the boundaries after it without end."""
    wall = anchor_wall(anchor_ms, zone_named(zone_at(moves, anchor_ms)))
    at_ms = anchor_ms
    for k in count():
        yield at_ms
        at_ms = next_boundary(wall, unit, k, at_ms, moves)


def days(span: Span, zone: ZoneInfo) -> list[Span]:
    """Cut a span at the midnights of a zone: its local days, the first and the last as far as it meets them.

    A day that the zone went without is none; one whose midnight is skipped begins when that was.
    """
    cuts = [span.from_ms, *_midnights(span, zone), span.to_ms]
    return [Span(start, end) for start, end in pairwise(cuts) if start < end]


def _midnights(span: Span, zone: ZoneInfo) -> Iterator[int]:
    midnight = datetime.combine(anchor_wall(span.from_ms, zone).date(), time.min)
    for day in count(1):
        at_ms = _read(midnight + timedelta(days=day), zone)
        if at_ms >= span.to_ms:
            return
        yield max(at_ms, span.from_ms)


def _read(wall: datetime, zone: ZoneInfo) -> int:
    # fold=0 reads a time that is skipped by the offset before the gap, and of one that comes twice the first.
    return (wall.replace(tzinfo=zone, fold=0) - _EPOCH) // _MILLISECOND
