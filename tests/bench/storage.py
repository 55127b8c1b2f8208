"""`python -m tests.bench.storage`: what a million events take on disk, before and after sealing.

The events are those of `quarterhour traffic`, of the eight hours that ended two days ago: by now handoffs
that nobody ended have run out too. A worker reads all of them, and the ledger must equal the reference model.
Then a worker that takes events of an hour at most seals all that it can, without the limit on its load: no
record may change. The tables have just been written anew (`vacuum full`): sizes are those of what is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from quarterhour.comparing import compare
from quarterhour.parts import Parts
from quarterhour.publishing import publish
from quarterhour.traffic import traffic
from schemas.times import DAY_MS
from sessionizer import reference
from tests.bench.events import SEED
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, measure_options, measuring
from tests.drills.stand import on_local_parts
from tests.drills.watch import session
from tests.streams.stage import Stage, now_ms, staged, until

EVENTS = 200_000
LIMIT_SECONDS = 900.0
TABLES = ("fact_chunk", "conversation", "session_record", "session_record_change", "seal")
SIZES = """
select c.relname::text, pg_table_size(c.oid), pg_indexes_size(c.oid) from pg_class c
where c.relnamespace = 'billing'::regnamespace and c.relname = any($1)
"""
FINGERPRINT = "select md5(string_agg(r::text, ' ' order by session_id)) from billing.session_record r"
ALL_SETTLED = """
select not exists (select from billing.conversation where not settled)
   and not exists (select from billing.session_record where status = 'open')
"""
NOTHING_TO_SEAL = """
select not exists (
  select from billing.conversation where settled and coalesce(seal_due_ms, settles_at_ms) < $1
)
"""
COUNTS = """
select (select count(*) from billing.conversation) as conversations,
       (select sum(revision)::bigint from billing.conversation) as facts,
       (select count(*) from billing.seal) as sealed_conversations,
       (select coalesce(sum(facts), 0)::bigint from billing.seal) as sealed_facts
"""
SHORTEST_AGE = "1h"
HEADINGS = ("table, before", "after", "indexes, before", "after")
WITHOUT_LIMIT = """
import streams.worker
streams.worker.SEAL_PAUSE_SECONDS = 0.05
streams.worker.SEAL_SECONDS = 1.0
streams.worker.SEAL_SHARE = 1000.0
from quarterhour.cli import main
main()
"""


class Size(NamedTuple):
    """Bytes of a table and of its indexes."""

    table: int
    indexes: int


async def sizes(dsn: str) -> dict[str, Size]:
    """The sizes of the largest tables, which are written anew for that; no worker may run."""
    async with session(dsn) as connection:
        for table in TABLES:
            await connection.execute(f"vacuum (full, analyze) billing.{table}")
        found = {name: Size(*bytes_of) for name, *bytes_of in await connection.fetch(SIZES, TABLES)}
    return {table: found[table] for table in TABLES}


async def storage(parts: Parts, events: int) -> AsyncIterator[Result]:
    """Measure both."""
    until_ms = now_ms() - 2 * DAY_MS
    with TemporaryDirectory(prefix="quarterhour-storage-") as folder:
        async with (
            on_local_parts(parts, Path(folder)) as stand,
            staged(stand.brokers, stand.dsn, stand.topics, Path(folder)) as stage,
        ):
            await publish(traffic(events, SEED, until_ms), stage.brokers, stage.topics)
            await _read(stage)
            expected = reference.sessionize(map(json.loads, traffic(events, SEED, until_ms)))
            records = compare(await stage.records(), expected)
            if not records.equal:
                raise BenchFailed(records.report("ledger", "reference"))
            fingerprint = await stage.query(FINGERPRINT)
            before = await sizes(stage.dsn)
            seconds = await _seal(stage)
            if await stage.query(FINGERPRINT) != fingerprint:
                raise BenchFailed("sealing changed records")
            after = await sizes(stage.dsn)
            (counts,) = await stage.query(COUNTS)
    figures = {"events": events, "records": records.left_rows, **counts, "seal_seconds": round(seconds, 1)}
    points = _points(events, before, after)
    _print(figures, points)
    yield {"storage": figures | {"points": points}}


async def _read(stage: Stage) -> None:
    worker = stage.start()
    await stage.drained()
    await until(lambda: _holds(stage, ALL_SETTLED), "all has settled", LIMIT_SECONDS)
    await worker.stop()


async def _seal(stage: Stage) -> float:
    """Have a worker seal all that is old enough for it; how long that took from its readiness on."""
    old_ms = now_ms() - DAY_MS // 2
    stage.program = ("-c", WITHOUT_LIMIT)
    worker = stage.start(max_age=SHORTEST_AGE, seal_after=SHORTEST_AGE)
    await worker.ready()
    began = time.monotonic()
    await until(lambda: _holds(stage, NOTHING_TO_SEAL, old_ms), "all is sealed", LIMIT_SECONDS)
    seconds = time.monotonic() - began
    await worker.stop()
    return seconds


async def _holds(stage: Stage, sql: str, *arguments: Any) -> bool:
    ((holds,),) = await stage.query(sql, *arguments)
    return bool(holds)


def _points(events: int, before: dict[str, Size], after: dict[str, Size]) -> list[dict[str, Any]]:
    """A row for each table and one for all, in bytes per million events."""
    rows = [(table, before[table], after[table]) for table in TABLES]
    rows.append(("all", _sum(before), _sum(after)))
    return [
        {
            "what": name,
            "table_before": old.table * 1_000_000 // events,
            "table_after": new.table * 1_000_000 // events,
            "indexes_before": old.indexes * 1_000_000 // events,
            "indexes_after": new.indexes * 1_000_000 // events,
        }
        for name, old, new in rows
    ]


def _sum(found: dict[str, Size]) -> Size:
    return Size(*map(sum, zip(*found.values(), strict=True)))


def _print(figures: Result, points: list[Result]) -> None:
    print(
        "{events:,} events, {facts:,} facts of {conversations:,} conversations, {records:,} records; "
        "sealed: {sealed_facts:,} facts of {sealed_conversations:,} in {seal_seconds} s".format(**figures)
    )
    print("{:24}{:>18}{:>16}{:>18}{:>16}".format("bytes per million events", *HEADINGS))
    for point in points:
        name, *found = point.values()
        print("{:24}{:>18,}{:>16,}{:>18,}{:>16,}".format(name, *found))


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=EVENTS, help="Number of events.")
@measure_options
def main(events: int, home: Path, results: Path) -> None:
    """Measure what events take on disk, before and after sealing, on real parts."""
    measuring("storage", home, results, lambda parts: storage(parts, events))


if __name__ == "__main__":
    main()
