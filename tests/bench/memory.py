"""`python -m tests.bench.memory`: what a worker holds in memory for each open conversation of 25 messages.

A worker starts, rests with nothing in it, and its resident memory is read. Then so many conversations are
published, all of which stay open; its memory is read again once all is saved and it rests. The difference
over their number is `bytes a conversation`. `bytes a further one` is the slope from the size before: what any
reading leaves behind in the allocators is in both.

The messages come in one of two orders. In blocks, a few conversations after the others, a checkpoint touches
few of them: what is there at the end is what conversations take. In turns, every conversation once before any
speaks again, each checkpoint touches as many as it can: that leaves the most behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import click

from quarterhour.parts import Parts
from tests.bench.ground import on_ground
from tests.bench.growth import EVENTS_A_CONVERSATION, PACE_MS
from tests.bench.results import Result, measure_options, measuring, tell
from tests.bench.synthetic import Traffic, check
from tests.drills.vitals import vitals
from tests.streams.stage import now_ms

ORDERS = {"in-blocks": Traffic.in_blocks, "in-turns": Traffic.in_turns}
SIZES = (10_000, 100_000, 300_000)
MESSAGES = EVENTS_A_CONVERSATION
REST_SECONDS = 7.0
"""Longer than a worker goes without giving memory back."""
MIB = 1 << 20


async def memory(parts: Parts, sizes: Sequence[int], orders: Iterable[str]) -> AsyncIterator[Result]:
    """Measure each size in each order with a worker of its own."""
    for order in orders:
        points: list[dict[str, float]] = []
        for conversations in sizes:
            point = await _measure(parts, conversations, order)
            if points:
                more = (point["rss_mib"] - points[-1]["rss_mib"]) * MIB
                further = conversations - points[-1]["conversations"]
                point["bytes_a_further_one"] = round(more / further)
            points.append(point)
            tell(f"memory, {order}: {point}")
            yield {order: {"points": points}}


async def _measure(parts: Parts, conversations: int, order: str) -> dict[str, float]:
    async with on_ground(parts) as ground:
        traffic = Traffic("memory", conversations, conversations * MESSAGES)
        await ground.start()
        worker = ground.workers[0]
        await asyncio.sleep(REST_SECONDS)
        empty_mib = vitals(worker.pid).rss_mib
        first_ms = now_ms() - MESSAGES * PACE_MS
        await ground.publish(ORDERS[order](traffic, range(MESSAGES), PACE_MS, first_ms))
        await ground.saved()
        await asyncio.sleep(REST_SECONDS)
        rss_mib, held = vitals(worker.pid).rss_mib, worker.conversations()
        await check(ground.dsn, traffic)
    return {
        "conversations": conversations,
        "held": held,
        "events": traffic.events,
        "empty_mib": round(empty_mib, 1),
        "rss_mib": round(rss_mib, 1),
        "bytes_a_conversation": round((rss_mib - empty_mib) * MIB / conversations),
    }


@click.command()
@click.option("--open", "sizes", type=int, multiple=True, default=SIZES, help="So many open conversations.")
@click.option("--only", type=click.Choice(list(ORDERS)), multiple=True, help="This order only.")
@measure_options
def main(sizes: tuple[int, ...], only: tuple[str, ...], home: Path, results: Path) -> None:
    """Measure the memory of open conversations, on real parts."""
    measuring("memory", home, results, lambda parts: memory(parts, sizes, only or tuple(ORDERS)))


if __name__ == "__main__":
    main()
