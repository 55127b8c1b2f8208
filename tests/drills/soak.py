"""`python -m tests.drills.soak`: an hour at half of capacity with a fault a minute.

First the capacity is measured: a live stream that would grow beyond it flows until the workers are behind.
Then half of that flows. In the first half of the time the faults leave worker A's claim alone, so that what
it holds within a claim can grow if it does; in the second half they make the group rebalance. Worker A is
never killed, and its memory, descriptors and connections are watched throughout. In the end every record is
compared. Whatever goes wrong on the way is a finding and ends nothing; Ctrl-C ends the flow and judges what
was.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import click

from quarterhour.parts import Parts
from tests.drills.drill import Row
from tests.drills.link import linked
from tests.drills.live import Feed, Target
from tests.drills.slices import judge_in_slices
from tests.drills.soak_faults import CALM, STATIC, STORMY, Ground, Strike
from tests.drills.soak_report import Plan, Report, Sample, judge_vitals, shown
from tests.drills.stand import on_local_parts, parts_of_this_run
from tests.drills.supervisor import Slot, supervised
from tests.drills.vitals import vitals
from tests.drills.watch import Watch, session, watching
from tests.streams.stage import staged

SAMPLE_SECONDS = 5.0
STEADY_SECONDS = 20.0
BACKLOG_EVENTS = 300_000
CAPACITY_SHARE = 0.5
DRAIN_LIMIT_SECONDS = 600.0
VERDICT_TRIES = 2
STRIKE_UP_TO_SECONDS = 5.0
CONNECTION_TIMEOUT_SECONDS = 3
# As in life, ten times as quick (tests.drills.live.SPEED); the idle timeout can be no shorter.
RULES = {"block_ms": 90_000, "idle_timeout_ms": 300_000, "handoff_timeout_ms": 600_000}
INSERT_RULES = """
insert into billing.rule_set (effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms)
values (1, $1, $2, $3)
"""
CONNECTIONS = "select application_name, count(*) from pg_stat_activity group by 1"


async def soak(
    parts: Parts, folder: Path, plan: Plan, stop: asyncio.Event, samples: Path | None = None
) -> Report:
    """Measure capacity, let half of it flow under faults, and judge all of it."""
    report = Report(Row("soak"))
    try:
        async with _ground(parts, folder, plan, report) as ground:
            with _noting(report, "the soak"):
                await _run(ground, stop, samples)
            with _noting(report, "the conclusion"):
                await _conclude(ground)
    except Exception:
        report.row.findings.append(traceback.format_exc())
    return report


@asynccontextmanager
async def _ground(parts: Parts, folder: Path, plan: Plan, report: Report) -> AsyncIterator[Ground]:
    spread = folder / "spread"
    spread.mkdir()
    used = shutil.disk_usage(folder).used
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(on_local_parts(parts, folder))
        await _set_rules(stand.dsn)
        server = urlsplit(stand.dsn)
        link = await stack.enter_async_context(linked(str(server.hostname), int(server.port or 0)))
        stage = await stack.enter_async_context(staged(stand.brokers, stand.dsn, stand.topics, folder))
        watch = Watch(stand.dsn, stand.brokers, list(stand.topics.values()))
        await stack.enter_async_context(watching(watch))
        slots = await stack.enter_async_context(supervised(stage))
        feed = Feed(Target(stand.brokers, stand.topics, spread), plan.seed)
        stack.callback(feed.kill)
        common = (stand, stage, feed, watch, slots, report.row, random.Random(plan.seed))
        yield Ground(*common, feed=feed, link=link, plan=plan, report=report, used_bytes_before=used)  # type: ignore[arg-type]


async def _run(ground: Ground, stop: asyncio.Event, samples: Path | None) -> None:
    plan, report, feed = ground.plan, ground.report, ground.feed
    through_link = ground.stand.dsn.replace(f":{urlsplit(ground.stand.dsn).port}/", f":{ground.link.port}/")
    await ground.new_slot(postgres_dsn=through_link)
    await ground.new_slot(**STATIC)
    _tell(f"publishing {plan.earlier_events:,} events of days gone by")
    await feed.publish_earlier(plan.earlier_events)
    await ground.recovered(DRAIN_LIMIT_SECONDS)
    await _measure_capacity(ground, stop)
    await ground.recovered(DRAIN_LIMIT_SECONDS)
    if stop.is_set():
        return
    began, before = time.monotonic(), feed.acknowledged
    feed.flow(plan.rate or max(1, int(report.capacity * CAPACITY_SHARE)))
    sampling = asyncio.create_task(_sample_for_ever(ground, began, samples, stop))
    telling = asyncio.create_task(_tell_for_ever(ground, began))
    try:
        await _strike_again_and_again(ground, stop, began)
    finally:
        report.seconds = time.monotonic() - began
        report.rate = (feed.acknowledged - before) / report.seconds
        sampling.cancel()
        telling.cancel()
        report.disk_gib = _used_gib(ground)


async def _measure_capacity(ground: Ground, stop: asyncio.Event) -> None:
    """Let more and more flow until workers or publisher are behind: what was saved lately is capacity."""
    plan, watch, feed = ground.plan, ground.watch, ground.feed
    first = sum(watch.saved.values())
    feed.flow(plan.wave_rate, late_share=0.0)
    published_before = feed.acknowledged
    began, seen = time.monotonic(), [(time.monotonic(), first)]
    backlog = 0
    while time.monotonic() - began < plan.wave_seconds and not stop.is_set():
        if backlog > BACKLOG_EVENTS or feed.behind_seconds > STEADY_SECONDS:
            break
        await asyncio.sleep(1.0)
        feed.check()
        saved = sum(watch.saved.values())
        seen.append((time.monotonic(), saved))
        backlog = feed.acknowledged - published_before - (saved - first)
    behind = feed.behind_seconds
    recent = [(at, saved) for at, saved in seen if at >= seen[-1][0] - STEADY_SECONDS]
    seconds = recent[-1][0] - recent[0][0]
    ground.report.capacity = (recent[-1][1] - recent[0][1]) / seconds if seconds else 0.0
    await feed.end()
    _tell(
        f"capacity {ground.report.capacity:,.0f} events/s, in the last {seconds:.0f} of "
        f"{seen[-1][0] - began:.0f} s; {backlog:,} were not saved then, the publisher {behind:.1f} s behind"
    )


async def _strike_again_and_again(ground: Ground, stop: asyncio.Event, began: float) -> None:
    plan = ground.plan
    calm, stormy = cycle(CALM), cycle(STORMY)
    due = began + plan.fault_seconds
    while due < began + plan.seconds and not await _told_before(stop, due):
        is_calm = due < began + plan.seconds / 2
        if not is_calm and ground.rotation != "stormy":
            await _let_rebalance(ground)
        ground.rotation = "calm" if is_calm else "stormy"
        await _strike(ground, next(calm if is_calm else stormy), began)
        due = max(due + plan.fault_seconds, time.monotonic() + SAMPLE_SECONDS)
    await _told_before(stop, began + plan.seconds)


async def _let_rebalance(ground: Ground) -> None:
    """Let worker B be a new member at each start from now on."""
    with _noting(ground.report, "replacing the static member"):
        await ground.retire(ground.b)
        await ground.new_slot()


async def _told_before(stop: asyncio.Event, moment: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, moment - time.monotonic()))
    return stop.is_set()


async def _strike(ground: Ground, strike: Strike, began: float) -> None:
    row, name = ground.row, strike.__name__
    await asyncio.sleep(ground.dice.uniform(0, min(STRIKE_UP_TO_SECONDS, ground.plan.fault_seconds / 4)))
    tried, bit = row.tried, row.bit
    at = time.monotonic()
    try:
        ground.feed.check()
        await _sample(ground, began, at_rest=True)
        ground.ends = dict(await ground.watch.ends())
        async with ground.fault() as fault:
            await strike(ground, fault)
    except Exception:
        row.tried = tried + 1
        row.findings.append(f"{name} at {at - began:.0f} s: {traceback.format_exc()}")
        with _noting(ground.report, "mending"):
            await ground.mend()
    seconds = time.monotonic() - at
    with _noting(ground.report, f"after {name}"):
        await ground.both_at_work()
    ground.report.strikes.append({"at": at - began, "name": name, "bit": row.bit > bit, "seconds": seconds})
    _tell(f"{name}: {'bit' if row.bit > bit else 'did not bite'}, recovered after {seconds:.1f} s")


async def _conclude(ground: Ground) -> None:
    report, row = ground.report, ground.row
    with _noting(report, "ending the flow"):
        await ground.feed.end()
        await ground.recovered(DRAIN_LIMIT_SECONDS)
    if ground.slots and ground.a.exits:
        row.findings.append(f"worker A ended: {dict(ground.a.exits)}")
    with _noting(report, "stopping the workers"):
        await ground.stop_workers()
    judge_vitals(ground.plan, report)
    _tell("comparing every record")
    began = time.monotonic()
    for _ in range(VERDICT_TRIES):
        with _noting(report, "the verdict"):
            await _judge(ground)
            break
    report.verdict_seconds = time.monotonic() - began


async def _judge(ground: Ground) -> None:
    stand, row = ground.stand, ground.row
    rules = [{"effective_ms": 1, "account_id": None, "bot_id": None, **RULES}]
    verdict = await judge_in_slices(
        *(stand.brokers, stand.dsn, stand.topics, stand.counts, rules),
        *(ground.stage.folder / "spread", sum(ground.watch.saved.values())),
    )
    row.events, row.compared, row.wrong = verdict.events, verdict.compared, verdict.wrong
    row.findings += verdict.differences
    ground.report.verdict_reached = True


# --- samples


async def _sample_for_ever(ground: Ground, began: float, path: Path | None, stop: asyncio.Event) -> None:
    written = 0
    if path is not None:
        path.write_text("")
    while True:
        with suppress(Exception):  # a sample that fails is one that is missing
            await _sample(ground, began)
        if path is not None:
            with path.open("a") as file:
                file.writelines(json.dumps(sample) + "\n" for sample in ground.report.samples[written:])
            written = len(ground.report.samples)
        if shutil.disk_usage(ground.stage.folder).free < ground.plan.free_bytes and not stop.is_set():
            ground.row.findings.append("the disk is nearly full: the flow ended early")
            stop.set()
        await asyncio.sleep(SAMPLE_SECONDS)


async def _sample(ground: Ground, began: float, *, at_rest: bool = False) -> None:
    common = {"at": time.monotonic() - began, "at_rest": at_rest, "rotation": ground.rotation}
    common |= {"acknowledged": ground.feed.acknowledged, "saved": sum(ground.watch.saved.values())}
    common |= {"behind_seconds": ground.feed.behind_seconds}
    with suppress(OSError, asyncpg.PostgresError, TimeoutError):
        common["server_connections"] = await _server_connections(ground.stand.dsn)
    for name, slot in zip("ABC", list(ground.slots), strict=False):
        with suppress(OSError, KeyError):
            ground.report.samples.append(common | {"worker": name} | await _signs(ground, slot))


async def _signs(ground: Ground, slot: Slot) -> Sample:
    found = vitals(slot.pid)
    ports = {ground.link.port: "postgres", urlsplit(ground.stand.dsn).port: "postgres"}
    ports[int(ground.stand.brokers.rpartition(":")[2])] = "kafka"
    connections: Counter[str] = Counter()
    for port, count in found.connections.items():
        connections[ports.get(port, "other")] += count
    _, metrics = await slot.worker.page("/metrics")
    return {
        **{"pid": slot.pid, "rss_mib": found.rss_mib, "anonymous_mib": found.anonymous_mib},
        **{"threads": found.threads, "descriptors": found.descriptors},
        **{name: connections[name] for name in ("postgres", "kafka", "other")},
        "conversations": _metric(metrics, "quarterhour_conversations_in_memory"),
        "lag": _metric(metrics, "quarterhour_lag_records"),
        "claims": len(slot.worker.owners),
    }


def _metric(text: str, name: str) -> float | None:
    values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, values)) if values else None


async def _server_connections(dsn: str) -> dict[str, int]:
    limit = CONNECTION_TIMEOUT_SECONDS
    async with session(dsn, timeout=limit, command_timeout=limit) as connection:
        return {name or "-": count for name, count in await connection.fetch(CONNECTIONS)}


# --- around it


async def _tell_for_ever(ground: Ground, began: float) -> None:
    while True:
        await asyncio.sleep(60.0)
        with suppress(Exception):
            own = [one for one in ground.report.samples if one["worker"] == "A"][-1]
            _tell(
                f"{(time.monotonic() - began) / 60:.0f} min: {own['acknowledged']:,} events, "
                f"{own['acknowledged'] - own['saved']:,} not saved, "
                f"publisher {own['behind_seconds']:.1f} s behind, "
                f"{ground.row.bit} of {ground.row.tried} faults bit; "
                f"worker A: {own['rss_mib']:.0f} MiB, {own['conversations'] or 0:,.0f} conversations, "
                f"{own['descriptors']} descriptors, {own['claims']} claims; "
                f"findings {len(ground.row.findings)}, disk {_used_gib(ground):.1f} GiB"
            )


def _used_gib(ground: Ground) -> float:
    """What the disk holds more than at the begin."""
    return (shutil.disk_usage(ground.stage.folder).used - ground.used_bytes_before) / 2**30


@contextmanager
def _noting(report: Report, what: str) -> Iterator[None]:
    """An error in this block becomes a finding, and what comes after the block goes on."""
    try:
        yield
    except Exception as error:
        report.row.findings.append(f"{what}: {traceback.format_exc()}")
        _tell(f"{what}: {error!r}")


async def _set_rules(dsn: str) -> None:
    async with session(dsn) as connection:
        await connection.execute(INSERT_RULES, *RULES.values())


def _tell(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0.5), default=60.0, help="How long it flows.")
@click.option("--seed", type=int, default=1, help="Decides traffic and moments.")
@click.option("--samples", type=click.Path(path_type=Path), help="File for the samples, one JSON a line.")
def main(minutes: float, seed: int, samples: Path | None) -> None:
    """Soak two workers for an hour at half of capacity, with a fault a minute.

    Ctrl-C ends the flow and judges what was; a second one ends all. Exit status 1 when anything is wrong.
    """
    plan = Plan.of_minutes(minutes, seed)
    with parts_of_this_run("soak") as (parts, folder):
        report = asyncio.run(_until_told(parts, folder, plan, samples))
    print(shown(plan, report))
    print(*report.row.findings, sep="\n", file=sys.stderr)
    sys.exit(not report.passed)


async def _until_told(parts: Parts, folder: Path, plan: Plan, samples: Path | None) -> Report:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        _tell("ending the flow; once more ends all")
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    return await soak(parts, folder, plan, stop, samples)


if __name__ == "__main__":
    main()
