"""Human-agent spans: from the handoffs and closes of a conversation to when a human had it (section 3).

A span is half-open. This module does not know the bot clock, nor who said what inside a span.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from sessionizer.facts import (
    CLOSED,
    HANDOFF_ENDED,
    HANDOFF_STARTED,
    INDEX_MASK,
    KIND_MASK,
    KIND_SHIFT,
    TIME_SHIFT,
    FactSet,
)

Interval = tuple[int, int]


_KINDS: Final = (CLOSED, HANDOFF_ENDED, HANDOFF_STARTED)


class Moment(NamedTuple):
    """A handoff's start or end, or a close, whose handoff id is none."""

    time_ms: int
    kind: int
    handoff_id: str


class Span(NamedTuple):
    """One handoff's time with a human, before merging; it may be empty."""

    start_ms: int
    end_ms: int
    latest_end_ms: int
    """Where it ends if no event cuts it: `end_ms` if an `ended` closed it, else its whole handoff timeout."""


def moments_of(facts: FactSet) -> list[Moment]:
    """Return the handoffs and closes among the winners, in order."""
    lines = facts.lines()
    return [
        Moment(fact >> TIME_SHIFT, kind, lines[fact & INDEX_MASK].partition("|")[0])
        for fact in sorted(facts.winners())
        if (kind := fact >> KIND_SHIFT & KIND_MASK) in _KINDS
    ]


def spans_of(moments: Iterable[Moment], handoff_timeout_ms: int) -> list[Span]:
    """Return the spans of every handoff, unmerged and in no order, given moments in the order of time."""
    return [span for spans in spans_by_handoff(moments, handoff_timeout_ms).values() for span in spans]


def spans_by_handoff(moments: Iterable[Moment], handoff_timeout_ms: int) -> dict[str, list[Span]]:
    """Return the same by handoff_id, each one's in order."""
    closes: list[int] = []
    starts: dict[str, list[int]] = defaultdict(list)
    ends: dict[str, list[int]] = defaultdict(list)
    for time_ms, kind, handoff_id in moments:
        if kind == CLOSED:
            closes.append(time_ms)
        elif kind == HANDOFF_STARTED:
            starts[handoff_id].append(time_ms)
        else:
            ends[handoff_id].append(time_ms)
    return {
        handoff_id: list(_spans_of_handoff(times, ends[handoff_id], closes, handoff_timeout_ms))
        for handoff_id, times in starts.items()
    }


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same time as separate intervals in order: empty ones left out, those that touch made one."""
    separate: list[Interval] = []
    for start_ms, end_ms in sorted(intervals):
        if start_ms == end_ms:
            continue
        if separate and start_ms <= separate[-1][1]:
            separate[-1] = (separate[-1][0], max(end_ms, separate[-1][1]))
        else:
            separate.append((start_ms, end_ms))
    return separate


def _spans_of_handoff(
    starts: list[int], ends: list[int], closes: list[int], handoff_timeout_ms: int
) -> Iterator[Span]:
    opens_from_ms = starts[0]
    for start_ms in starts:
        if start_ms < opens_from_ms:
            continue
        end_ms = _first(ends, start_ms)
        if end_ms is not None:
            span = Span(start_ms, end_ms, end_ms)
        else:
            timeout_ms = start_ms + handoff_timeout_ms
            closed_ms = _first(closes, start_ms)
            runs_out_ms = timeout_ms if closed_ms is None else min(closed_ms, timeout_ms)
            span = Span(start_ms, runs_out_ms, timeout_ms)
        yield span
        # A `started` in the millisecond of an `ended` comes before it: it opens an empty span at most.
        opens_from_ms = span.end_ms


def _first(times: list[int], from_ms: int) -> int | None:
    """Return the first of these ordered times that is not before `from_ms`."""
    at = bisect_left(times, from_ms)
    return times[at] if at < len(times) else None
