"""From timed runs to the table: medians with minimum and maximum. No measuring here."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from quarterhour.parts.jars import KAFKA_VERSION
from tests.bench.contenders import Outcome

Runs = Mapping[str, Sequence[Outcome]]


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

    events: int
    events_per_second: Spread
    cpu_seconds_per_million: Spread
    peak_mib: Spread
    startup_seconds: Spread
    startup_cpu_seconds: Spread
    wrong: int | None


COLUMNS = [
    *("contender", "events a round", "events/s", "CPU s per million", "CPU to ours", "peak MiB"),
    *("start-up s", "start-up CPU s", "wrong records"),
]


def figures_of(outcomes: Sequence[Outcome]) -> Figures:
    """Sum up the runs of one contender; of wrong records the worst run counts."""
    return Figures(
        outcomes[0].events,
        _spread(events_per_second(outcome) for outcome in outcomes),
        _spread(cpu_seconds_per_million(outcome) for outcome in outcomes),
        _spread(outcome.interval.end.peak_mib for outcome in outcomes),
        _spread(outcome.interval.first.at - outcome.interval.spawned_at for outcome in outcomes),
        _spread(outcome.interval.first.cpu_seconds for outcome in outcomes),
        max((outcome.wrong for outcome in outcomes if outcome.wrong is not None), default=None),
    )


def events_per_second(outcome: Outcome) -> float:
    """From the first record to the end."""
    return outcome.events / (outcome.interval.end.at - outcome.interval.first.at)


def cpu_seconds_per_million(outcome: Outcome) -> float:
    """User and system time from the first record to the end, for a million events."""
    interval = outcome.interval
    return (interval.end.cpu_seconds - interval.first.cpu_seconds) / outcome.events * 1_000_000


def table_rows(figures: Mapping[str, Figures], ours: Figures | None) -> list[dict[str, str]]:
    """The table's rows, for people."""
    return [dict(zip(COLUMNS, _cells(name, row, ours), strict=True)) for name, row in figures.items()]


def json_rows(figures: Mapping[str, Figures], ours: Figures | None) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "contender": name,
            **{key: _plain(value) for key, value in row._asdict().items()},
            "cpu_ratio_to_ours": _ratio(row, ours),
        }
        for name, row in figures.items()
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


def _cells(name: str, row: Figures, ours: Figures | None) -> list[str]:
    ratio = _ratio(row, ours)
    return [
        name,
        f"{row.events:,}",
        row.events_per_second.shown(0),
        row.cpu_seconds_per_million.shown(2),
        "" if ratio is None else f"{ratio:.2f}",
        row.peak_mib.shown(0),
        row.startup_seconds.shown(1),
        row.startup_cpu_seconds.shown(1),
        "" if row.wrong is None else f"{row.wrong:,}",
    ]


def _ratio(row: Figures, ours: Figures | None) -> float | None:
    if ours is None:
        return None
    return round(row.cpu_seconds_per_million.median / ours.cpu_seconds_per_million.median, 3)


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
