"""Usage: what a bot has used of a period so far, what is left of its allowance, and where that leads.

Pure: the counts are others' to fetch, and the moment they are of is given. Allowances are those of rating.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from invoicing.model import SessionKind, Slice, Span
from invoicing.rating import allowance


@dataclass(frozen=True, slots=True)
class Count:
    """A slice of the current period and its sessions: those that are billed so far, and those still open."""

    slice: Slice
    used: Mapping[SessionKind, int]
    open: Mapping[SessionKind, int]


@dataclass(frozen=True, slots=True)
class Usage:
    """One bot's sessions of one kind in a period."""

    bot_id: str
    kind: SessionKind
    used: int
    """Sessions billed so far; those that are open are not among them."""
    open: int
    allowance: int
    """Of all slices of the period together."""
    left: int
    """Of the slice that is current: what an earlier one left over is gone with it."""
    beyond: int
    """Sessions beyond the allowance of their slice; those of a trial never are."""
    forecast: int | None
    """Sessions at the period's end if it goes on like this; none before any time has passed."""


def usage(counts: Iterable[Count], at_ms: int) -> list[Usage]:
    """Tell the usage of a period at a moment, by bot and kind; the slices of a bot in order of time."""
    by_bot: defaultdict[str, list[Count]] = defaultdict(list)
    for count in counts:
        by_bot[count.slice.bot_id].append(count)
    return [_of_kind(by_bot[bot_id], kind, at_ms) for bot_id in sorted(by_bot) for kind in SessionKind]


def forecast(used: int, whole: Span, at_ms: int) -> int | None:
    """Tell how many sessions a period has if it goes on as until now, rounded up."""
    elapsed = (min(at_ms, whole.to_ms) - whole.from_ms) // 1000
    return -(-used * (whole.length_ms // 1000) // elapsed) if elapsed > 0 else None


def _of_kind(counts: Sequence[Count], kind: SessionKind, at_ms: int) -> Usage:
    used = [count.used.get(kind, 0) for count in counts]
    allowances = [allowance(count.slice, kind) for count in counts]
    return Usage(
        bot_id=counts[0].slice.bot_id,
        kind=kind,
        used=sum(used),
        open=sum(count.open.get(kind, 0) for count in counts),
        allowance=sum(allowances),
        left=max(0, allowances[-1] - used[-1]),
        beyond=sum(
            max(0, sessions - included)
            for count, sessions, included in zip(counts, used, allowances, strict=True)
            if not count.slice.is_trial
        ),
        forecast=forecast(sum(used), counts[-1].slice.whole, at_ms),
    )
