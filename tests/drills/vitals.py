"""A process's vital signs as /proc tells them, and whether they drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import linear_regression
from typing import NamedTuple

ESTABLISHED = "01"
KIB_IN_MIB = 1024


class Vitals(NamedTuple):
    """What a process holds now."""

    rss_mib: float
    anonymous_mib: float
    threads: int
    descriptors: int
    connections: Counter[int]
    """Established TCP connections, by the port of the other side."""


def vitals(pid: int) -> Vitals:
    """Read them; raises OSError or KeyError if the process is gone."""
    folder = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    inodes, descriptors = set(), 0
    for link in (folder / "fd").iterdir():
        with suppress(FileNotFoundError):
            inodes.add(str(link.readlink())[8:-1])
            descriptors += 1
    rows = [line.split() for line in (folder / "net/tcp").read_text().splitlines()[1:]]
    remote = [row[2] for row in rows if row[9] in inodes and row[3] == ESTABLISHED]
    return Vitals(
        int(status["VmRSS"].split()[0]) / KIB_IN_MIB,
        int(status["RssAnon"].split()[0]) / KIB_IN_MIB,
        int(status["Threads"]),
        descriptors,
        Counter(int(address.rpartition(":")[2], 16) for address in remote),
    )


def slope(times: Sequence[float], values: Sequence[float]) -> float | None:
    """How much a value grows a unit of time, by least squares; None if there are too few."""
    if len(set(times)) < 3:
        return None
    return linear_regression(times, values).slope


def slope_at_load(times: Sequence[float], values: Sequence[float], load: Sequence[float]) -> float | None:
    """The same with what a changing load explains taken out (least squares in both)."""
    if len(set(load)) < 3:
        return slope(times, values)
    return slope(_unexplained(load, times), _unexplained(load, values))


def _unexplained(load: Sequence[float], values: Sequence[float]) -> list[float]:
    line = linear_regression(load, values)
    return [
        value - line.intercept - line.slope * carried for value, carried in zip(values, load, strict=True)
    ]
