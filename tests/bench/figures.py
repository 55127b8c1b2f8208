"""From timed runs to the table: medians with minimum and maximum. No measuring here."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from quarterhour.parts.jars import KAFKA_VERSION
from tests.bench.contenders import Contender, Crash, Outcome

SLOWER = 1.25
"""A peer whose CPU, in units of the Java loop's, is so many times what it was before is mis-set."""


class Spread(NamedTuple):
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    def shown(self, digits: int) -> str:
        """For people: the median and, after more than one round, the range."""
        middle, least, most = (f"{value:,.{digits}f}" for value in self)
        return middle if least == most else f"{middle} ({least} to {most})"


class Figures(NamedTuple):
    """What one contender's runs say."""

    contender: str
    events: int
    events_per_second: Spread
    cpu_seconds_per_million: Spread
    peak_mib: Spread
    startup_seconds: Spread
    startup_cpu_seconds: Spread
    wrong: int | None
    wrong_after_kill: int | None
    saved_at_kill: float | None
    cpu_before: float | None


COLUMNS = [
    *(
        "contender",
        "events a round",
        "events/s",
        "CPU s per million",
        "CPU to ours",
        "CPU to Java loop (before)",
    ),
    *("peak MiB", "start-up s", "start-up CPU s", "wrong records", "after kill -9 (saved by then)"),
]


def figures_of(contender: type[Contender], outcomes: Sequence[Outcome], crash: Crash | None) -> Figures:
    """Sum up the runs of one contender; of wrong records the worst run counts."""
    return Figures(
        contender.name,
        outcomes[0].events,
        _spread(events_per_second(outcome) for outcome in outcomes),
        _spread(cpu_seconds_per_million(outcome) for outcome in outcomes),
        _spread(outcome.interval.end.peak_mib for outcome in outcomes),
        _spread(outcome.interval.first.at - outcome.interval.spawned_at for outcome in outcomes),
        _spread(outcome.interval.first.cpu_seconds for outcome in outcomes),
        max((outcome.wrong for outcome in outcomes if outcome.wrong is not None), default=None),
        crash.wrong if crash else None,
        crash.saved if crash else None,
        contender.cpu_before,
    )


def seconds(outcome: Outcome) -> float:
    """From the first record to the end."""
    return outcome.interval.end.at - outcome.interval.first.at


def events_per_second(outcome: Outcome) -> float:
    """Over the same time."""
    return outcome.events / seconds(outcome)


def cpu_seconds_per_million(outcome: Outcome) -> float:
    """User and system time from the first record to the end, for a million events."""
    interval = outcome.interval
    return (interval.end.cpu_seconds - interval.first.cpu_seconds) / outcome.events * 1_000_000


def table_rows(
    figures: Sequence[Figures], ours: Figures | None, java_loop: Figures | None
) -> list[dict[str, str]]:
    """The table's rows, for people; its ratios are to two of them, if they were run."""
    return [dict(zip(COLUMNS, _cells(row, ours, java_loop), strict=True)) for row in figures]


def json_rows(
    figures: Sequence[Figures], ours: Figures | None, java_loop: Figures | None
) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            **{key: _plain(value) for key, value in row._asdict().items()},
            "cpu_ratio_to_ours": _ratio(row, ours),
            "cpu_ratio_to_java_loop": _ratio(row, java_loop),
        }
        for row in figures
    ]


def mis_set(figures: Sequence[Figures], java_loop: Figures | None) -> list[str]:
    """The peers that are slower beside the Java loop than they were in the earlier measurement."""
    return [
        row.contender
        for row in figures
        if (ratio := _ratio(row, java_loop))
        and (before := _before(row, java_loop))
        and ratio > SLOWER * before
    ]


def machine(postgres_version: str) -> dict[str, Any]:
    """What the figures were made on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "postgresql": postgres_version,
    }


def _cells(row: Figures, ours: Figures | None, java_loop: Figures | None) -> list[str]:
    before = _before(row, java_loop)
    return [
        row.contender,
        f"{row.events:,}",
        row.events_per_second.shown(0),
        row.cpu_seconds_per_million.shown(2),
        _shown(_ratio(row, ours), ".2f"),
        _shown(_ratio(row, java_loop), ".2f") + ("" if before is None else f" ({before:.2f})"),
        row.peak_mib.shown(0),
        row.startup_seconds.shown(1),
        row.startup_cpu_seconds.shown(1),
        _shown(row.wrong, ","),
        _after_kill(row),
    ]


def _after_kill(row: Figures) -> str:
    if row.wrong_after_kill is None:
        return ""
    return f"{row.wrong_after_kill:,} ({row.saved_at_kill:.0%})"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _ratio(row: Figures, other: Figures | None) -> float | None:
    if other is None:
        return None
    return round(row.cpu_seconds_per_million.median / other.cpu_seconds_per_million.median, 3)


def _before(row: Figures, other: Figures | None) -> float | None:
    """The same ratio in the earlier measurement."""
    if other is None or other.cpu_before is None or row.cpu_before is None:
        return None
    return row.cpu_before / other.cpu_before


def _plain(value: Any) -> Any:
    if isinstance(value, Spread):
        return {key: round(number, 3) for key, number in value._asdict().items()}
    return value


def _spread(values: Any) -> Spread:
    found = list(values)
    return Spread(median(found), min(found), max(found))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "?")
