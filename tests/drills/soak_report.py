"""What a soak showed: its plan, what was sampled, and what that says about growth. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.drills.drill import Row
from tests.drills.vitals import slope, slope_at_load

HOUR_SECONDS = 3600.0
WAVE_RATE = 40_000
EARLIER_EVENTS_A_MINUTE = 15_000
FREE_GIB = 1.0
FREE_GIB_AN_HOUR = 11.0
FLAT_SHARE_AN_HOUR = 0.1
"""Memory that grows by more than this share of itself in an hour is a finding."""
DRIFT = 4
"""Likewise descriptors and connections at rest whose number spans more than this."""
JUDGED_SECONDS = 600.0
"""Over a shorter time no growth is judged, only told."""

Sample = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How long, and how hard."""

    seconds: float
    warm_up_seconds: float
    fault_seconds: float = 60.0
    wave_seconds: float = 120.0
    wave_rate: int = WAVE_RATE
    rate: int | None = None
    """Events a second; None is half of capacity."""
    seed: int = 1

    @classmethod
    def of_minutes(cls, minutes: float, seed: int) -> Plan:
        """The plan of a soak of so many minutes: a quarter of them is warm-up."""
        return cls(minutes * 60, minutes * 15, seed=seed)

    @property
    def free_bytes(self) -> int:
        """With less room on the disk the flow ends: the verdict needs some, the more the longer it flowed."""
        return int((FREE_GIB + FREE_GIB_AN_HOUR * self.seconds / HOUR_SECONDS) * 2**30)

    @property
    def earlier_events(self) -> int:
        """Enough that what is held back of them lasts."""
        return int(EARLIER_EVENTS_A_MINUTE * self.seconds / 60)


@dataclass
class Report:
    """What a soak showed."""

    row: Row
    seconds: float = 0.0
    capacity: float = 0.0
    rate: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    strikes: list[Sample] = field(default_factory=list)
    disk_gib: float = 0.0
    verdict_seconds: float = 0.0
    verdict_reached: bool = False

    @property
    def passed(self) -> bool:
        """Whether faults bit, nothing is wrong, and nothing grew."""
        return self.verdict_reached and self.row.passed


@dataclass(frozen=True)
class Trend:
    """Worker A's memory over one stretch of time."""

    name: str
    seconds: float
    first_mib: float
    last_mib: float
    most_mib: float
    slope_mib_an_hour: float
    slope_at_load: float
    conversations: tuple[float, float]
    claims: int

    def cells(self) -> tuple[str, ...]:
        """As a row of a table."""
        return (
            *(self.name, f"{self.seconds / 60:.0f}"),
            *(f"{mib:.0f}" for mib in (self.first_mib, self.last_mib, self.most_mib)),
            *(f"{self.slope_mib_an_hour:+.1f}", f"{self.slope_at_load:+.1f}"),
            *(f"{self.conversations[0]:,.0f} to {self.conversations[1]:,.0f}", str(self.claims)),
        )


TREND_COLUMNS = (
    *("worker A", "minutes", "RSS start MiB", "end", "most", "slope MiB/h", "slope at equal load"),
    *("conversations held", "claims"),
)


def trends(plan: Plan, samples: list[Sample]) -> list[Trend]:
    """Worker A's memory after the warm-up, over all and over each half."""
    own = [one for one in samples if one["worker"] == "A" and one["conversations"] is not None]
    warm = [one for one in own if one["at"] >= plan.warm_up_seconds]
    half = plan.seconds / 2
    stretches = {
        "after the warm-up": warm,
        "calm half": [one for one in warm if one["at"] < half],
        "stormy half": [one for one in warm if one["at"] >= half],
    }
    found = (_trend(name, stretch) for name, stretch in stretches.items() if len(stretch) > 3)
    return [trend for trend in found if trend is not None]


def _trend(name: str, samples: list[Sample]) -> Trend | None:
    times = [one["at"] / HOUR_SECONDS for one in samples]
    mib, load = [one["rss_mib"] for one in samples], [one["conversations"] for one in samples]
    growth, at_load = slope(times, mib), slope_at_load(times, mib, load)
    if growth is None or at_load is None:
        return None
    seconds = samples[-1]["at"] - samples[0]["at"]
    claims = samples[-1]["claims"] - samples[0]["claims"]
    ends = (load[0], load[-1])
    return Trend(name, seconds, mib[0], mib[-1], max(mib), growth, at_load, ends, claims)


def spans(plan: Plan, samples: list[Sample]) -> dict[str, tuple[int, int]]:
    """Least and most of what worker A held at rest after the warm-up."""
    resting = [
        one
        for one in samples
        if one["worker"] == "A" and one["at_rest"] and one["at"] >= plan.warm_up_seconds
    ]
    names = ("descriptors", "postgres", "kafka", "threads")
    found = {name: (min(held), max(held)) for name in names if (held := [one[name] for one in resting])}
    ours = [one.get("server_connections", {}).get("quarterhour-worker", 0) for one in resting]
    return found | ({"workers' connections at the server": (min(ours), max(ours))} if ours else {})


def judge_vitals(plan: Plan, report: Report) -> None:
    """Note as findings what grew, if it was watched for long enough."""
    for trend in trends(plan, report.samples):
        limit = FLAT_SHARE_AN_HOUR * trend.first_mib
        if trend.seconds >= JUDGED_SECONDS and trend.slope_mib_an_hour > limit:
            report.row.findings.append(f"worker A's memory grows: {' | '.join(trend.cells())}")
    for name, (least, most) in spans(plan, report.samples).items():
        if plan.seconds >= JUDGED_SECONDS and most - least > DRIFT:
            report.row.findings.append(f"worker A's {name} at rest: {least} to {most}")


def shown(plan: Plan, report: Report) -> str:
    """The tables of a soak."""
    row = report.row
    middle = f"{median(row.recoveries):.1f} / {max(row.recoveries):.1f}" if row.recoveries else "-"
    bites = ", ".join(f"{name} {count}" for name, count in sorted(row.bites.items()))
    cells = {
        "minutes": f"{report.seconds / 60:.1f}",
        "capacity events/s": f"{report.capacity:,.0f}",
        "rate events/s": f"{report.rate:,.0f}",
        "events": f"{row.events:,}",
        "faults tried": str(row.tried),
        "bit": f"{row.bit} ({bites})",
        "records compared": f"{row.compared:,}",
        "wrong": str(row.wrong) if report.verdict_reached else "no verdict",
        "recovery median / max s": middle,
        "exits of workers": ", ".join(f"{status}: {n}" for status, n in sorted(row.exits.items())) or "-",
        "disk GiB": f"{report.disk_gib:.1f}",
        "verdict s": f"{report.verdict_seconds:.0f}",
    }
    held = {name: f"{least} to {most}" for name, (least, most) in spans(plan, report.samples).items()}
    tables = [
        (list(cells), [list(cells.values())]),
        (TREND_COLUMNS, [trend.cells() for trend in trends(plan, report.samples)]),
        ([f"{name} at rest" for name in held], [list(held.values())] if held else []),
        (("fault", "tried", "bit", "recovery median s", "max"), _by_fault(report.strikes)),
    ]
    return "\n\n".join(_table(columns, rows) for columns, rows in tables if rows)


def _by_fault(strikes: list[Sample]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(strike["name"] for strike in strikes)
    rows = []
    for name in names:
        own = [strike for strike in strikes if strike["name"] == name]
        seconds = [strike["seconds"] for strike in own]
        bit = sum(strike["bit"] for strike in own)
        rows.append((name, str(len(own)), str(bit), f"{median(seconds):.1f}", f"{max(seconds):.1f}"))
    return rows


def _table(columns: Any, rows: Any) -> str:
    lines = [columns, ["---" for _ in columns], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
