"""A conversation of 400 days, sealed: what it costs before and after, and what becomes of late events.

`python -m tests.drills.sealing`: a user and a bot talk every day; now and then a human takes over, and some
days end with a close. A worker as shipped reads it month by month. Another one, which takes events of 30 days
at most, seals what is older. Then a worker as shipped again: an event from behind the seal must become a dead
letter, a younger one must count. In the end the ledger must equal the reference model of what was accepted,
`reconcile --deep` must find nothing, and a sealed session and one that is not must both be explained.

What one more event costs is told of late ones, each of a day that is long over: so the worker has to look up
all that is stored of the conversation and bill it, and forgets it again. A checkpoint follows each. CPU is
that of all threads of the worker, as /proc tells it; a checkpoint's time is what the worker's metrics say.
Both are medians, and what the same worker takes while nothing comes is left out.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from quarterhour.comparing import compare
from quarterhour.lines import decode_line
from quarterhour.parts import Parts
from schemas.times import DAY_MS
from tests.bench.storage import Size, sizes
from tests.drills.stand import on_local_parts, parts_of_this_run
from tests.streams.stage import Stage, WorkerProcess, event, now_ms, staged, until

SHIPPED = {"max_age": "400d", "seal_after": "400d"}
SEALING = {"max_age": "30d", "seal_after": "30d"}
SEAL_AFTER_DAYS = 30
HOUR_MS, PACE_MS = 3_600_000, 20_000
MONTH, HANDOFF_EVERY, CLOSE_EVERY = 30, 20, 7
"""In days."""
TAKEN = 20
"""So many events are taken one by one."""
IDLE_SECONDS = 4.0
BEHIND_DAYS, YOUNG_DAYS = 100, 10

SETTLED = """
select bool_and(settled) and not exists (select from billing.session_record where status = 'open')
from billing.conversation
"""
SEAL = "select facts, sealed_through_ms from billing.seal order by sealed_through_ms desc limit 1"
KEPT = "select coalesce(sum(length(facts) / 18), 0)::bigint from billing.fact_chunk"
DEAD_LETTERS = "select reason from billing.dead_letter"
OLDEST = (
    "select session_id::text from billing.session_record where status = 'final' order by started_at limit 1"
)
NEWEST = f"{OLDEST.partition('limit')[0]} desc limit 1"


class Gauge(NamedTuple):
    """How far a worker has come: when that was, its CPU time, its checkpoints and what they took."""

    at: float
    cpu_seconds: float
    checkpoints: float
    checkpoint_seconds: float

    def since(self, before: Gauge) -> Gauge:
        """The difference."""
        return Gauge(*(mine - its for mine, its in zip(self, before, strict=True)))


class Cost(NamedTuple):
    """Of one more event, in ms: the worker's CPU, and the checkpoint."""

    cpu_ms: float
    checkpoint_ms: float


class Sealed(NamedTuple):
    """What a worker sealed, and what that took from when it was ready."""

    facts: int
    through_ms: int
    kept_facts: int
    days_ago: float
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Report:
    """What became of it."""

    events: int
    before: dict[str, Size]
    after: dict[str, Size]
    cost_before: Cost
    cost_after: Cost
    sealed: Sealed
    records: int
    faults: list[str]


def said(events: int, days: int, until_ms: int) -> Iterator[list[bytes]]:
    """The conversation, a month at a time; its last day begins a day before `until_ms`."""
    month: list[bytes] = []
    for day in range(days):
        count = events * (day + 1) // days - events * day // days
        month += _day(day, count, until_ms - (days - day) * DAY_MS)
        if day % MONTH == MONTH - 1 or day == days - 1:
            yield month
            month = []


def _day(day: int, count: int, begin_ms: int) -> Iterator[bytes]:
    kinds = ["user" if place % 2 == 0 else "bot" for place in range(count)]
    if day % HANDOFF_EVERY == 0:
        kinds[count // 3], kinds[count // 2] = "started", "ended"
    if day % CLOSE_EVERY == 0:
        kinds[-1] = "closed"
    for place, kind in enumerate(kinds):
        yield event(kind, begin_ms + place * PACE_MS)


async def play(stage: Stage, events: int, days: int) -> Report:
    """Go through all of it."""
    began_ms = now_ms()
    worker = stage.start(**SHIPPED)
    for month in said(events, days, began_ms):
        await stage.publish(month)
        await stage.drained()
    cost_before = await _cost(stage, worker, began_ms - 4 * HOUR_MS)
    await worker.stop()
    before = await sizes(stage.dsn)
    sealed = await _seal(stage)
    after = await sizes(stage.dsn)
    faults = list(_judge_seal(stage, sealed))
    worker = stage.start(**SHIPPED)
    cost_after = await _cost(stage, worker, began_ms - 6 * HOUR_MS)
    counting = [*stage.published, event("user", began_ms - YOUNG_DAYS * DAY_MS - 8 * HOUR_MS)]
    await stage.publish([counting[-1], event("user", began_ms - BEHIND_DAYS * DAY_MS - 8 * HOUR_MS)])
    await stage.drained()
    await _rested(stage, worker)
    await worker.stop()
    stage.published = counting
    faults += [fault async for fault in _judge(stage)]
    records = len(await stage.records())
    return Report(len(counting), before, after, cost_before, cost_after, sealed, records, faults)


async def _cost(stage: Stage, worker: WorkerProcess, time_ms: int) -> Cost:
    """What it costs to take events that are so old, and as old on each of the days before."""
    await worker.ready()
    await _rested(stage, worker)
    begun = await _gauge(worker)
    await asyncio.sleep(IDLE_SECONDS)
    idle = (await _gauge(worker)).since(begun)
    costs = []
    for days in range(1, TAKEN + 1):
        before = await _gauge(worker)
        await stage.publish([event("user", time_ms - days * DAY_MS)])
        await stage.drained()
        used = (await _gauge(worker)).since(before)
        others_seconds = (used.checkpoints - 1) * idle.checkpoint_seconds / idle.checkpoints
        costs.append(
            Cost(
                1000 * (used.cpu_seconds - used.at * idle.cpu_seconds / idle.at),
                1000 * (used.checkpoint_seconds - others_seconds),
            )
        )
        await _rested(stage, worker)
    return Cost(*map(median, zip(*costs, strict=True)))


async def _rested(stage: Stage, worker: WorkerProcess) -> None:
    """Wait until all has settled and the worker holds nothing in memory."""

    async def rests() -> bool:
        ((settled,),) = await stage.query(SETTLED)
        return bool(settled) and await _metric(worker, "conversations_in_memory") == 0

    await until(rests, "all has settled and left memory")


async def _gauge(worker: WorkerProcess) -> Gauge:
    tasks = Path(f"/proc/{worker.pid}/task").iterdir()
    cpu_seconds = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    return Gauge(
        time.monotonic(),
        cpu_seconds,
        await _metric(worker, "checkpoint_seconds_count"),
        await _metric(worker, "checkpoint_seconds_sum"),
    )


async def _metric(worker: WorkerProcess, name: str) -> float:
    _, page = await worker.page("/metrics")
    found = re.search(rf"^quarterhour_{name} (\S+)$", page, re.M)
    assert found, f"no metric {name}"
    return float(found[1])


async def _seal(stage: Stage) -> Sealed:
    worker = stage.start(**SEALING)
    await worker.ready()
    before = await _gauge(worker)
    ((facts, through_ms),) = await until(lambda: stage.query(SEAL), "the conversation is sealed")
    used = (await _gauge(worker)).since(before)
    await worker.stop()
    ((kept,),) = await stage.query(KEPT)
    return Sealed(facts, through_ms, kept, (now_ms() - through_ms) / DAY_MS, used.at, used.cpu_seconds)


def _judge_seal(stage: Stage, sealed: Sealed) -> Iterator[str]:
    times_ms = [decode_line(line)[1] for line in stage.published]
    expected = sum(time_ms <= sealed.through_ms for time_ms in times_ms)
    if (sealed.facts, sealed.kept_facts) != (expected, len(times_ms) - expected):
        yield f"sealed {sealed.facts} facts, kept {sealed.kept_facts}; {expected} of {len(times_ms)} are old"
    if not SEAL_AFTER_DAYS <= sealed.days_ago < SEAL_AFTER_DAYS + 1:
        yield f"sealed up to {sealed.days_ago} days ago"


async def _judge(stage: Stage) -> AsyncIterator[str]:
    """Say what is wrong in the end."""
    expected, outcomes = stage.expected()
    outcomes["dead_letter"] += 1
    records = compare(await stage.records(), expected)
    if not records.equal:
        yield records.report("ledger", "reference")
    if (found := await stage.outcomes()) != outcomes:
        yield f"outcomes: ledger {dict(found)}, reference {dict(outcomes)}"
    if (reasons := [row["reason"] for row in await stage.query(DEAD_LETTERS)]) != ["too_old"]:
        yield f"dead letters: {reasons}"
    status, rows, messages = await stage.answer("reconcile", "--deep")
    if status:
        yield f"reconcile --deep: {messages} {[row for row in rows if row['type'] == 'difference'][:3]}"
    for query, is_sealed in ((OLDEST, True), (NEWEST, False)):
        ((session_id,),) = await stage.query(query)
        status, rows, messages = await stage.answer("explain", session_id)
        told = [(row["record"]["session_id"], row["is_sealed"], row["is_as_computed"]) for row in rows]
        if told != [(session_id, is_sealed, None if is_sealed else True)]:
            yield f"explain {session_id}: status {status}, {told} {messages}"


async def _main(parts: Parts, folder: Path, events: int, days: int) -> Report:
    async with (
        on_local_parts(parts, folder) as stand,
        staged(stand.brokers, stand.dsn, stand.topics, folder) as stage,
    ):
        return await play(stage, events, days)


def _print(report: Report) -> None:
    sealed = report.sealed
    print(f"{report.events:,} events, {report.records:,} records")
    print(
        f"sealed: {sealed.facts:,} facts up to {sealed.days_ago:.1f} days ago, "
        f"{sealed.kept_facts:,} kept; done {sealed.seconds:.1f} s after the worker was ready, "
        f"{sealed.cpu_seconds:.2f} s of its CPU"
    )
    print(f"{'bytes':24}{'table, before':>16}{'after':>12}{'indexes, before':>18}{'after':>12}")
    for name, old in report.before.items():
        new = report.after[name]
        print(f"{name:24}{old.table:>16,}{new.table:>12,}{old.indexes:>18,}{new.indexes:>12,}")
    for name, cost in (("before", report.cost_before), ("after", report.cost_after)):
        print(f"one more event {name}: {cost.cpu_ms:.1f} ms of CPU, checkpoint {cost.checkpoint_ms:.1f} ms")
    for fault in report.faults:
        print(f"WRONG: {fault}")
    print("wrong" if report.faults else "all as it must be")


@click.command()
@click.option("--events", type=click.IntRange(min=10_000), default=100_000, help="How many events it has.")
@click.option("--days", type=click.IntRange(120, 399), default=399, help="For how long it goes on.")
def main(events: int, days: int) -> None:
    """Seal a long conversation, and go on with it."""
    with parts_of_this_run("sealing") as (parts, folder):
        report = asyncio.run(_main(parts, folder, events, days))
    _print(report)
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
