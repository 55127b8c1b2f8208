"""`python -m tests.bench.freshness`: live capacity, and the time from publishing an event to its record.

First a backlog is timed. Then a live stream (tests/bench/live.py) flows at one rate after another, each for
a window, and lag is followed: the records in Kafka that are not saved yet. A rate is held if lag grew by less
than 0.6 seconds' worth of it in the last two thirds of the window, and the publisher kept up. Live capacity
is the highest rate held, searched to 10 %. Then it flows at 90, 50 and 10 % of that, and each probe is timed:
from the time it bears, which is when it was handed to the producer, until a query that is repeated every
20 ms first finds its session record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg
import click

from quarterhour.parts import Parts
from tests.bench.ground import Cost, Ground, on_ground
from tests.bench.growth import Size, time_new
from tests.bench.live import Flowed, Live, living
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, measure_options, measuring, tell
from tests.bench.synthetic import check
from tests.drills.vitals import slope
from tests.drills.watch import Watch, session
from tests.streams.stage import now_ms

SHARES = (0.9, 0.5, 0.1)
GROWTH_HELD_SECONDS = 0.6
BEHIND_SECONDS = 0.5
STEP = 1.5
MOST = 1_000_000
PRECISION = 1.1
WARM_UP = 1 / 3
LOOK_SECONDS = 0.02
PROBES = """
select subject_id, (extract(epoch from started_at) * 1000)::bigint from billing.session_record
where account_id = 'probe-0' and started_at >= $1
"""


@dataclass(frozen=True)
class Window:
    """What was seen while a rate flowed, after its first third."""

    rate: int
    flowed: Flowed
    cost: Cost
    lags: list[tuple[float, int]]
    """Moments, and how many records were not saved then."""
    waits: list[float]
    """Seconds from the publishing of a probe until it was seen."""

    @property
    def growth_seconds(self) -> float:
        """How much lag grew, in seconds' worth of the rate."""
        times, lags = zip(*self.lags, strict=True)
        return (slope(times, lags) or 0.0) * (times[-1] - times[0]) / self.rate

    @property
    def held(self) -> bool:
        """Whether it could flow for ever."""
        return self.growth_seconds < GROWTH_HELD_SECONDS and self.flowed.behind_seconds < BEHIND_SECONDS

    def figures(self) -> dict[str, Any]:
        """For a result file."""
        percentiles = quantiles(self.waits, n=100, method="inclusive")
        return {
            "rate": self.rate,
            "held": self.held,
            "lag_growth_seconds": round(self.growth_seconds, 2),
            "lag_seconds": round(sum(lag for _, lag in self.lags) / len(self.lags) / self.rate, 2),
            "publisher_behind_seconds": round(self.flowed.behind_seconds, 2),
            "publisher_cores": round(self.flowed.publisher_seconds / self.cost.seconds, 2),
            "worker_cores": round(self.cost.worker_seconds / self.cost.seconds, 2),
            "postgres_cores": round(self.cost.postgres_seconds / self.cost.seconds, 2),
            "kafka_cores": round(self.cost.kafka_seconds / self.cost.seconds, 2),
            "probes": len(self.waits),
            "p50_seconds": round(percentiles[49], 2),
            "p99_seconds": round(percentiles[98], 2),
            "most_seconds": round(max(self.waits), 2),
        }


class Observer:
    """Follows lag and probes while a rate flows."""

    def __init__(self, watch: Watch, live: Live, connection: asyncpg.Connection) -> None:
        self._watch = watch
        self._live = live
        self._connection = connection
        self.began = time.monotonic()
        self.began_ms = now_ms()
        self.lags: list[tuple[float, int]] = []
        self.seen_ms: dict[str, tuple[int, int]] = {}
        """When each probe was published and when it was seen, by its id."""

    async def look_for_ever(self) -> None:
        """Look again and again."""
        while True:
            await self._watch.look()
            self.lags.append((time.monotonic(), self._live.sent - sum(self._watch.saved.values())))
            await self.look_for_probes()
            await asyncio.sleep(LOOK_SECONDS)

    async def look_for_probes(self) -> None:
        """Note the probes whose records are there by now."""
        rows = await self._connection.fetch(PROBES, datetime.fromtimestamp(self.began_ms / 1000, UTC))
        for probe, published_ms in rows:
            self.seen_ms.setdefault(probe, (published_ms, now_ms()))

    def window(self, rate: int, seconds: float, flowed: Flowed, cost: Cost) -> Window:
        """What was seen from the first third of so many seconds to their end."""
        warm = seconds * WARM_UP
        lags = [lag for lag in self.lags if warm <= lag[0] - self.began <= seconds]
        waits = [
            (seen_ms - published_ms) / 1000
            for published_ms, seen_ms in self.seen_ms.values()
            if published_ms - self.began_ms >= 1000 * warm
        ]
        return Window(rate, flowed, cost, lags, waits)


@dataclass(frozen=True)
class Stream:
    """A live stream and what watches it."""

    ground: Ground
    live: Live
    connection: asyncpg.Connection
    seconds: float

    async def window(self, rate: int) -> Window:
        """Let a rate flow for a window, and wait until all of it is saved."""
        await self.live.open(rate)
        before = await self.ground.saved()
        observer = Observer(self.ground.watch, self.live, self.connection)
        looking = asyncio.create_task(observer.look_for_ever())
        try:
            flowed = await self.live.flow(rate, self.seconds)
            cost = Cost.between(flowed.events, before, self.ground.usage())
            await self.ground.saved()
        finally:
            looking.cancel()
            await asyncio.wait([looking])  # its query may still be under way
        await observer.look_for_probes()
        window = observer.window(rate, self.seconds, flowed, cost)
        tell(f"live: {window.figures()}")
        return window


async def freshness(
    parts: Parts, guess: int, seconds: float, scale: float, most: int = MOST
) -> AsyncIterator[Result]:
    """Find live capacity, up to a rate, then time probes below it."""
    async with on_ground(parts) as ground:
        await ground.start()
        traffic, backlog = await time_new(ground, Size(scale).events)
        await check(ground.dsn, traffic)
    tell(f"backlog: {backlog.figures()}")
    async with (
        on_ground(parts) as ground,
        session(ground.dsn) as connection,
        living(ground.parts.kafka.brokers, ground.topic) as live,
    ):
        await ground.start()
        stream = Stream(ground, live, connection, seconds)
        windows = [window async for window in _search(stream, guess, most)]
        await live.check(ground.dsn)
        capacity = max(window.rate for window in windows if window.held)
        yield {
            "capacity": {
                "events_per_second": capacity,
                "window_seconds": seconds,
                "backlog": backlog.figures(),
                "windows": [window.figures() for window in windows],
            }
        }
        below = [await stream.window(max(1, round(capacity * share))) for share in SHARES]
        await live.check(ground.dsn)
    points = [{"share": share, **window.figures()} for share, window in zip(SHARES, below, strict=True)]
    yield {"freshness": {"points": points, "window_seconds": seconds}}


async def _search(stream: Stream, guess: int, most: int) -> AsyncIterator[Window]:
    """Windows at ever higher rates until one is not held, then between those."""
    held, lost, rate = 0.0, 0.0, float(guess)
    while not (held and lost) or lost / held > PRECISION:
        window = await stream.window(round(rate))
        yield window
        if window.held:
            held = rate
            if rate >= most:
                return
        else:
            lost = rate
        if not held:
            if rate < 1:
                raise BenchFailed("no rate is held")
            rate /= STEP
        elif not lost:
            rate = min(rate * STEP, most)
        else:
            rate = sqrt(held * lost)


@click.command()
@click.option(
    "--guess", type=click.IntRange(min=1), default=4_000, help="The first rate, in events a second."
)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, help="Length of a window.")
@click.option(
    "--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, help="Size of the backlog."
)
@measure_options
def main(guess: int, seconds: float, scale: float, home: Path, results: Path) -> None:
    """Measure live capacity and freshness, on real parts."""
    measuring("freshness", home, results, lambda parts: freshness(parts, guess, seconds, scale))


if __name__ == "__main__":
    main()
