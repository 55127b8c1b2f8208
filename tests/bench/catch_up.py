"""`python -m tests.bench.catch_up`: a day's backlog, and then all of it once more.

The events are those of `quarterhour traffic`, with its duplicates, conflicts and disorder, spread over a day
that ended two days ago: by now handoffs that nobody ended have run out too. First a worker meets all of it as
a backlog; its ledger must equal the reference model's. When every session has settled, the ledger's positions
are set back to offset zero and another worker reads everything again: no record may change, nor its status or
revision, and every fact must be a repeat. What the day takes on disk is read before that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click

from quarterhour.comparing import compare
from quarterhour.parts import Parts
from quarterhour.publishing import publish
from quarterhour.traffic import HOUR_MS, PERIOD_MS, traffic
from schemas.times import DAY_MS
from sessionizer import reference
from sinks.views import read_session_records
from tests.bench.ground import Cost, Ground, on_ground
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, measure_options, measuring, tell
from tests.drills.watch import session
from tests.streams.stage import now_ms

SEED = 7
EVENTS = 1_000_000
BACK_TO_ZERO = "update billing.source_partition set next_offset = 0"
FINGERPRINT = "select md5(string_agg(r::text, ' ' order by session_id)) from billing.session_record r"
WAL_BYTES = "select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
TABLE_BYTES = """
select c.relname::text, pg_total_relation_size(c.oid) from pg_class c
where c.relnamespace = 'billing'::regnamespace and c.relkind = 'r'
"""
OUTCOMES = "select outcome, sum(records)::bigint from billing.outcome_count group by outcome"


async def catch_up(parts: Parts, events: int) -> AsyncIterator[Result]:
    """Measure both."""
    until_ms = now_ms() - 2 * DAY_MS
    async with on_ground(parts) as ground:
        await publish(_day(events, until_ms), parts.kafka.brokers, ground.topics)
        wal_bytes = await ground.query(WAL_BYTES)
        first = await _read_all(ground, events)
        await _compare(ground, events, until_ms)
        yield {"catch-up": {"hours": DAY_MS // HOUR_MS, **first.figures()}}
        await ground.settled()
        ground.kill_workers()
        wal_bytes = int(await ground.query(WAL_BYTES) - wal_bytes)
        event_bytes = sum(map(len, _day(events, until_ms)))
        yield {"disk": {"events": events, "event_bytes": event_bytes} | await _disk(ground, wal_bytes)}
        before, outcomes = await ground.query(FINGERPRINT), await _outcomes(ground)
        await ground.query(BACK_TO_ZERO)
        again = await _read_all(ground, events)
        if await ground.query(FINGERPRINT) != before:
            raise BenchFailed("reading everything again changed records")
        added = await _outcomes(ground) - outcomes
        known = Counter({"repeat": sum(outcomes[name] for name in ("fact", "repeat", "conflict"))})
        others = Counter({name: outcomes[name] for name in outcomes if name not in ("fact", "conflict")})
        if added != others | known:
            raise BenchFailed(f"read again: {dict(added)}; before: {dict(outcomes)}")
        yield {"replay": {"outcomes": dict(added), **again.figures()}}


def _day(events: int, until_ms: int) -> Iterator[bytes]:
    """Events of a day, in as many runs of the generator as fit into it."""
    runs = DAY_MS // PERIOD_MS
    for ago in reversed(range(runs)):
        share = events * (runs - ago) // runs - events * (runs - ago - 1) // runs
        yield from traffic(share, SEED + ago, until_ms - ago * PERIOD_MS)


async def _read_all(ground: Ground, events: int) -> Cost:
    """Let a new worker read all that is to be read."""
    before = await ground.start()
    cost = Cost.between(events, before, await ground.saved())
    tell(f"read {cost.figures()}")
    return cost


async def _compare(ground: Ground, events: int, until_ms: int) -> None:
    """Raise `BenchFailed` unless records and outcomes are the reference model's."""
    found = [record async for record in read_session_records(ground.dsn)]
    records = compare(found, reference.sessionize(map(json.loads, _day(events, until_ms))))
    if not records.equal:
        raise BenchFailed(records.report("ledger", "reference"))
    expected = reference.outcomes(map(json.loads, _day(events, until_ms)))
    if (outcomes := await _outcomes(ground)) != expected:
        raise BenchFailed(f"outcomes: ledger {dict(outcomes)}, reference {dict(expected)}")


async def _disk(ground: Ground, wal_bytes: int) -> dict[str, int]:
    """What the ledger takes, indexes and all."""
    async with session(ground.dsn) as connection:
        tables = dict(await connection.fetch(TABLE_BYTES))
    of_table = {f"{name}_bytes": tables[name] for name in sorted(tables, key=lambda it: -tables[it])[:4]}
    records = await ground.query("select count(*) from billing.session_record")
    conversations = await ground.query("select count(*) from billing.conversation")
    return {
        "conversations": conversations,
        "records": records,
        "wal_bytes": wal_bytes,
        "ledger_bytes": sum(tables.values()),
        **of_table,
    }


async def _outcomes(ground: Ground) -> Counter[str]:
    async with session(ground.dsn) as connection:
        return Counter(dict(await connection.fetch(OUTCOMES)))


@click.command()
@click.option("--events", type=click.IntRange(min=3), default=EVENTS, help="Number of events of the day.")
@measure_options
def main(events: int, home: Path, results: Path) -> None:
    """Measure catching up with a day's backlog and reading it again, on real parts."""
    measuring("catch-up", home, results, lambda parts: catch_up(parts, events))


if __name__ == "__main__":
    main()
