"""Many seeds, one after another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.world import Run, World


@dataclass
class Result:
    """What became of some seeds."""

    seeds: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    records: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    failures: list[Run] = field(default_factory=list)

    def add(self, run: Run) -> None:
        self.seeds += 1
        self.records += run.records
        self.happened += run.happened
        if run.violation:
            self.failures.append(run)


def run(seeds: Iterable[int]) -> Result:
    """Play these seeds."""
    started, began, result = time.monotonic(), time.process_time(), Result()
    for seed in seeds:
        result.add(World(seed).run())
    result.seconds, result.cpu_seconds = time.monotonic() - started, time.process_time() - began
    return result


def first_failure(seeds: Iterable[int]) -> Run | None:
    """Play these seeds up to the first that shows something wrong."""
    return next((played for played in (World(seed).run() for seed in seeds) if played.violation), None)
