"""Partitions that change hands while traffic flows; `pytest -s` on this file prints what happened."""

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import asyncpg

from quarterhour.traffic import traffic
from tests.streams.stage import Stage, WorkerProcess, now_ms, until

EVENTS = 60_000
PART = 250
POLL_SECONDS = 0.02
NOBODY = "a claim taken back"

Place = tuple[str, int]


@dataclass
class Observer:
    """Watches the ledger's positions and owners, as often as it can."""

    dsn: str
    owner_of: dict[Place, str] = field(default_factory=dict)
    offset_of: dict[Place, int] = field(default_factory=dict)
    read_by: defaultdict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    changes: list[tuple[float, Place, str, str, int]] = field(default_factory=list)

    async def watch(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        while True:
            rows = await connection.fetch(
                "select topic, partition, owner::text, next_offset from billing.source_partition"
            )
            for row in rows:
                self.see((row["topic"], row["partition"]), row["owner"], row["next_offset"])
            await asyncio.sleep(POLL_SECONDS)

    def see(self, place: Place, owner: str, offset: int) -> None:
        before = self.owner_of.get(place)
        if before not in (None, owner):
            self.changes.append((time.monotonic(), place, before, owner, offset))
        # Between two looks a claim may save and be succeeded: what it saved then counts for the one before.
        read = offset - self.offset_of.get(place, 0)
        self.read_by[before or owner][place] += read
        self.owner_of[place], self.offset_of[place] = owner, offset

    @property
    def saved(self) -> int:
        """How many offsets the ledger has taken in, in all."""
        return sum(self.offset_of.values())


class Flow:
    """Publishes part by part, each when those before are nearly read; the rest at once when told so."""

    def __init__(self, stage: Stage, observer: Observer, lines: list[bytes]) -> None:
        self._stage = stage
        self._observer = observer
        self._lines = lines
        self.rest_at_once = asyncio.Event()

    @property
    def flowing(self) -> bool:
        """Whether there is more to come."""
        return len(self._stage.published) < len(self._lines)

    async def run(self) -> None:
        while self.flowing and not self.rest_at_once.is_set():
            done = len(self._stage.published)
            await self._stage.publish(self._lines[done : done + PART])
            await until(self._nearly_read, "the traffic is read as it flows")
        await self._stage.publish(self._lines[len(self._stage.published) :])

    async def _nearly_read(self) -> bool:
        return self._observer.saved >= len(self._stage.published) - 2 * PART or self.rest_at_once.is_set()


async def test_two_workers_one_stopped_and_another_started_in_mid_stream_bill_like_the_reference(
    stage: Stage,
) -> None:
    observer = Observer(stage.dsn)
    flow = Flow(stage, observer, list(traffic(EVENTS, 11, now_ms())))
    tasks = [asyncio.create_task(observer.watch()), asyncio.create_task(flow.run())]
    began = time.monotonic()
    first, second = stage.start(), stage.start()
    await first.ready()
    await second.ready()
    assert await first.stop() == 0, first.log
    third = stage.start()
    await third.ready()
    await until(lambda: _has_read(observer, third), "the third worker reads some of the traffic")
    assert flow.flowing, "all was published before the third worker had read any: nothing is shown"
    flow.rest_at_once.set()
    await tasks[1]
    await stage.drained()
    for worker in (second, third):
        assert await worker.stop() == 0, worker.log
    tasks[0].cancel()
    changes = _of_other_workers(observer, stage.workers)
    _report(observer, changes, began, stage)
    comparison = await stage.compare()
    print(comparison.report("ledger", "reference"))
    assert comparison.equal, comparison.report("ledger", "reference")
    assert any(0 < offset < observer.offset_of[place] for _, place, *_, offset in changes), (
        "no change in mid-stream"
    )


async def _has_read(observer: Observer, worker: WorkerProcess) -> bool:
    return any(observer.read_by[owner].total() for owner in worker.owners if owner in observer.read_by)


def _worker_of(owner: str, workers: list[WorkerProcess]) -> str:
    """Its name; a claim that the group took back while it was made is nobody's: no worker tells of it."""
    return next((worker.name for worker in workers if owner in worker.owners), NOBODY)


def _of_other_workers(observer: Observer, workers: list[WorkerProcess]) -> list[tuple]:
    """The changes from one worker to another; a worker's own new claim is none."""
    return [
        (when, place, before, after, offset)
        for when, place, old, new, offset in observer.changes
        if (before := _worker_of(old, workers)) != (after := _worker_of(new, workers))
        and NOBODY not in (before, after)
    ]


def _report(observer: Observer, changes: list[tuple], began: float, stage: Stage) -> None:
    print("\nchanges of ownership (s, topic, partition, from, to, at offset, end of log):")
    for when, (topic, partition), before, after, offset in changes:
        end = observer.offset_of[topic, partition]
        print(f"  {when - began:6.2f} {topic} {partition} {before} -> {after} at {offset} of {end}")
    read: Counter[str] = Counter()
    for owner, places in observer.read_by.items():
        read[_worker_of(owner, stage.workers)] += places.total()
    print(f"changes: {len(changes)}; offsets read: {dict(sorted(read.items()))}, in all {read.total()}")
