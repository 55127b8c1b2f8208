"""A bad deploy upstream, an operator's way out of it, and what the ledger holds then.

`python -m tests.drills.bad_deploy`: from some record on a fifth of what producers send lacks a field. The
worker must stop at its limit, as shipped; once the dead letters were accepted, mended and replayed, every
record must be that of the mended events, and the audit must say who did what, when and why.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from quarterhour.comparing import Comparison, compare
from quarterhour.database import migrate_all
from quarterhour.parts import Parts
from quarterhour.parts.topics import create_topics
from quarterhour.traffic import traffic
from schemas.topics import Topic
from tests.drills.stand import parts_of_this_run
from tests.streams.stage import Stage, now_ms, staged

MINUTE_MS = 60_000
BROKEN_OF = 5
"""One of so many records lacks its channel after the deploy."""
WHY = "release 4.2 forgot the channel"
HAND = ("--why", WHY, "--actor", "ada", "--confirm")


@dataclass(frozen=True)
class Report:
    """What became of it."""

    stopped: str
    """The worker's last words."""
    broken: int
    sent: int
    states: dict[str, int]
    comparison: Comparison
    outcomes_equal: bool
    acts: list[tuple[str, str, str, int]]
    """Act, actor, why, and how often."""


def without_channel(line: bytes) -> bytes:
    """The event as the bad deploy sends it."""
    document = json.loads(line)
    del document["data"]["channel"]
    return json.dumps(document).encode()


def mended(line: bytes) -> bytes:
    """The event as the operator mends it."""
    document = json.loads(line)
    document["data"]["channel"] = "web"
    return json.dumps(document).encode()


async def play(stage: Stage, events: int, seed: int) -> Report:
    """Go through all of it."""
    lines = list(traffic(events, seed, now_ms() - MINUTE_MS))
    good, affected = lines[: events // 2], lines[events // 2 :]
    broken = [without_channel(line) for line in affected[::BROKEN_OF]]
    whole = [*good, *(line for number, line in enumerate(affected) if number % BROKEN_OF)]
    await stage.publish([*good, *_mixed(affected)])
    stopped = await _stopped(stage)
    for topic in stage.topics.values():
        await _done(stage, "accept", "--topic", topic, "--until", "now", *HAND)
    await stage.drain()
    sent = await _done(stage, "replay", "--reason", "missing_field", "--set", 'data.channel="web"', *HAND)
    await stage.drain()
    stage.published = [*whole, *map(mended, broken)]
    records, outcomes = stage.expected()
    outcomes["dead_letter"] += len(broken)
    counts = await _done(stage, "list", "--count")
    audit = await _done(stage, "audit")
    return Report(
        stopped,
        len(broken),
        len(sent),
        {row["state"]: row["dead_letters"] for row in counts},
        compare(await stage.records(), records),
        await stage.outcomes() == outcomes,
        [(row["act"], row["actor"], row["why"], row["acts"]) for row in audit],
    )


def _mixed(affected: list[bytes]) -> list[bytes]:
    return [line if number % BROKEN_OF else without_channel(line) for number, line in enumerate(affected)]


async def _stopped(stage: Stage) -> str:
    """Run a worker into its limit, and another one, which must not get further."""
    for _ in range(2):
        worker = stage.start("--until-drained")
        assert await worker.ended() == 65, worker.log
    return worker.log.splitlines()[-1]


async def _done(stage: Stage, *arguments: str) -> list[dict[str, Any]]:
    status, rows, messages = await stage.answer("dead-letters", *arguments)
    assert status == 0, messages
    return rows


async def _main(parts: Parts, folder: Path, partitions: int, events: int, seed: int) -> Report:
    topics = {role: str(role) for role in Topic}
    await migrate_all(parts.postgres.dsn())
    await create_topics(parts.kafka.brokers, dict.fromkeys(topics.values(), partitions))
    async with staged(parts.kafka.brokers, parts.postgres.dsn(), topics, folder) as stage:
        return await play(stage, events, seed)


@click.command()
@click.option("--events", type=click.IntRange(min=40_000), default=200_000, help="How many events in all.")
@click.option("--partitions", type=click.IntRange(min=1), default=2, help="Of each topic.")
@click.option("--seed", type=int, default=1, help="Decides the traffic.")
def main(events: int, partitions: int, seed: int) -> None:
    """Have a bad deploy, and the way out of it."""
    began = time.monotonic()
    with parts_of_this_run("bad-deploy") as (parts, folder):
        report = asyncio.run(_main(parts, folder, partitions, events, seed))
    print(f"{events:,} events, {report.broken:,} of them broken; {time.monotonic() - began:.0f} s")
    print(f"the worker and the next one ended with 65: {report.stopped}")
    print(f"replayed: {report.sent:,}; dead letters by state: {report.states}")
    for act, actor, why, count in report.acts:
        print(f"audit: {act} {count:,} times by {actor}: {why}")
    print(report.comparison.report("ledger", "reference of the mended events"))
    print(f"outcomes equal the reference's: {report.outcomes_equal}")
    sys.exit(not (report.comparison.equal and report.outcomes_equal))


if __name__ == "__main__":
    main()
