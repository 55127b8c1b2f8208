"""`python -m tests.bench.growth`: what an event costs as conversations, ledgers, workers and lateness grow.

| curve | grows | timed are |
|---|---|---|
| `open` | open conversations in memory | further messages of 10,000 of them, at every size as many |
| `spread` | the same | as many messages of all others at random, so that ever fewer share a write |
| `length` | messages of a conversation | all messages, as a backlog |
| `one-by-one` | messages a conversation has | a further message of each, saved before the next one comes |
| `workers` | workers | all messages, as a backlog |
| `ledger` | records in the ledger | messages of new conversations |
| `late` | the share of late messages | messages of new conversations, and of ones that settled a day ago |

Each point has a database, topics and workers of its own. After it the ledger is compared with what was sent.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from statistics import linear_regression

import click

from quarterhour.parts import Parts
from schemas.times import DAY_MS, MINUTE_MS
from tests.bench.ground import WORKER_CPU, Cost, Ground, on_ground
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, measure_options, measuring, tell
from tests.bench.synthetic import Message, Traffic, check
from tests.drills.watch import session
from tests.streams.stage import now_ms

SEED = 7
EVENTS = 400_000
"""Timed at each point, unless it says otherwise."""
FURTHER = 1_200_000
"""Timed where it counts how many share a write: fewer are two checkpoints, or three, by chance."""
EVENTS_A_CONVERSATION = 25
PACE_MS = 20_000
LONG_PACE_MS = 30_000

OPEN = (10_000, 100_000, 1_000_000)
OPENED_WITH = 5
LENGTHS = (25, 200, 1_000, 5_000)
ONE_BY_ONE = 400
ROUNDS_ONE_BY_ONE = 10
IDLE_SECONDS = 3.0
WORKERS = (1, 2, 4)
LEDGERS = (100_000, 1_000_000, 10_000_000)
RECORDS_A_CONVERSATION = 5
ROWS_AT_ONCE = 500_000
LATE_PERCENT = (0, 1, 10)
LATE_PLACE = 12

# Ids grow with their number and lie all over: indexes are built in order, and hit at random afterwards.
FILL_RECORDS = """
insert into billing.session_record
  (session_id, kind, account_id, bot_id, user_id, channel, subject_id, session_started_at, block, started_at,
   ended_at, bot_ms, agent_ms, user_messages, bot_messages, status, revision, algorithm, shard)
select (lpad(to_hex(n * (4294967295 / $3::bigint)), 8, '0') || substr(md5(n::text), 9))::uuid,
       'usage', 'filler', 'sales', 'u-' || n, 'web', 'c-' || n / $4::int, moment, n % $4::int + 1, moment,
       moment + interval '14 minutes', 840000, 0, 13, 12, 'final', 25, 1, n % 8
from generate_series($1::bigint, $2::bigint - 1) as n,
     lateral (select now() - interval '300 days' + n * interval '2 seconds' as moment) as m
"""
FILL_CONVERSATIONS = """
with filler as (
  select (lpad(to_hex(n * (4294967295 / $3::bigint)), 8, '0') || substr(md5('c' || n), 9))::uuid as key, n
  from generate_series($1::bigint, $2::bigint - 1) as n
), chunks as (
  insert into billing.fact_chunk (conversation_key, revision, facts, strings)
  select key, 25, decode(repeat('00', 450), 'hex'), '|u|web' || chr(10) from filler
)
insert into billing.conversation
  (conversation_key, account_id, bot_id, conversation_id, shard, revision, settles_at_ms, settled, record_ids)
select key, 'filler', 'sales', 'c-' || n, n % 8, 25, 0, true, decode(repeat('00', 16 * $4::int), 'hex')
from filler
"""
CORRECTED = "select count(*) from billing.session_record where corrected_at is not null"
CHUNKS = "select count(*) from billing.fact_chunk"


@dataclass(frozen=True)
class Size:
    """How large to measure; a tenth is a tenth of everything but of workers, lengths and shares."""

    scale: float = 1.0

    def __call__(self, full: int) -> int:
        """This at the scale."""
        return max(1, round(full * self.scale))

    @property
    def events(self) -> int:
        """How many to time."""
        return self(EVENTS)


Point = tuple[str, float, Cost, dict[str, float]]
"""A curve, a size, what the events cost there, and what else is known of them."""
Curve = Callable[[Parts, Size], AsyncIterator[Point]]
Runs = dict[float, list[tuple[Cost, dict[str, float]]]]
"""What was found at each size of a curve, round by round."""


async def open_conversations(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`open` and `spread`."""
    few = size(OPEN[0])
    for count in map(size, OPEN):
        async with on_ground(parts) as ground:
            further = size(FURTHER)
            traffic = Traffic("open", count, count * OPENED_WITH + further + size.events)
            await ground.start()
            first_ms = now_ms() - OPENED_WITH * PACE_MS - MINUTE_MS
            await ground.publish(traffic.in_turns(range(OPENED_WITH), PACE_MS, first_ms))
            await ground.saved()
            held = ground.workers[0].conversations()
            cost, known = await _time_further(ground, traffic, range(few), further)
            yield "open", count, cost, known | {"held": held}
            if count > few:
                cost, known = await _time_further(ground, traffic, range(few, count), size.events)
            yield "spread", count, cost, known | {"held": held}
            await check(ground.dsn, traffic)


async def length(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`length`."""
    for messages in LENGTHS:
        async with on_ground(parts) as ground:
            traffic = Traffic("length", max(1, size.events // messages), size.events)
            await ground.publish(_until_now(traffic, messages, LONG_PACE_MS))
            before = await ground.start()
            cost = Cost.between(traffic.events, before, await ground.saved())
            yield "length", messages, cost, {"conversations": traffic.conversations}
            await check(ground.dsn, traffic)


async def one_by_one(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`one-by-one`."""
    for messages in LENGTHS:
        async with on_ground(parts) as ground:
            count = size(ONE_BY_ONE)
            traffic = Traffic("one", count, count * messages)
            await ground.publish(_until_now(traffic, messages, LONG_PACE_MS))
            await ground.start()
            idle_from = await ground.saved()
            await asyncio.sleep(IDLE_SECONDS)
            idle = Cost.between(0, idle_from, ground.usage())
            costs = []
            for place in range(messages, messages + ROUNDS_ONE_BY_ONE):
                turn = [traffic.message(number, place, now_ms()) for number in range(count)]
                costs.append(await ground.time(turn))
            cost = Cost.total(costs).without(idle)
            yield "one-by-one", messages, cost, {"conversations": count}
            await check(ground.dsn, traffic)


async def workers(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`workers`."""
    for count in WORKERS:
        async with on_ground(parts) as ground:
            await ground.start(count)
            traffic, cost = await time_new(ground, size.events)
            yield "workers", count, cost, {}
            await check(ground.dsn, traffic)


async def ledger(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`ledger`."""
    for records in map(size, LEDGERS):
        async with on_ground(parts) as ground:
            await _fill(ground, records)
            await ground.start()
            traffic, cost = await time_new(ground, size.events)
            gib = await ground.query("select pg_database_size(current_database())") / 2**30
            yield "ledger", records, cost, {"database_gib": round(gib, 2)}
            await check(ground.dsn, traffic)


async def late(parts: Parts, size: Size) -> AsyncIterator[Point]:
    """`late`."""
    events = size.events // 2
    for percent in LATE_PERCENT:
        async with on_ground(parts) as ground:
            old = Traffic("old", max(1, events * max(LATE_PERCENT) // 100), events * 2)
            places = [place for place in range(EVENTS_A_CONVERSATION) if place != LATE_PLACE]
            began_ms = now_ms() - DAY_MS
            await ground.publish(old.in_turns(places, PACE_MS, began_ms))
            await ground.start()
            await ground.saved()
            await ground.settled()
            come_late = [
                old.message(number, LATE_PLACE, began_ms + LATE_PLACE * PACE_MS)
                for number in range(events * percent // 100)
            ]
            new = _new_traffic(events - len(come_late))
            messages = _strewn(come_late, list(_until_now(new, EVENTS_A_CONVERSATION, PACE_MS)))
            cost = await ground.time(messages)
            corrected = await ground.query(CORRECTED)
            if corrected != len(come_late):
                raise BenchFailed(f"{len(come_late)} messages came late, {corrected} records were corrected")
            yield "late", percent, cost, {"late": len(come_late)}
            await check(ground.dsn, old, new)


CURVES: dict[str, Curve] = {
    "open": open_conversations,
    "length": length,
    "one-by-one": one_by_one,
    "workers": workers,
    "ledger": ledger,
    "late": late,
}


async def grow(parts: Parts, size: Size, rounds: int, only: Sequence[str]) -> AsyncIterator[Result]:
    """Measure curves so many times; the figures of each point are those of its median round."""
    for name in only:
        found: dict[str, Runs] = {}
        for number in range(rounds):
            async for curve, x, cost, known in CURVES[name](parts, size):
                found.setdefault(curve, {}).setdefault(x, []).append((cost, known))
                tell(f"round {number + 1} of {rounds}: {curve} {x:,}: {cost.figures()} {known}")
        yield {curve: _curve(runs) for curve, runs in found.items()}


def _curve(found: Runs) -> Result:
    rows = []
    for x, runs in found.items():
        runs.sort(key=lambda run: run[0].worker_seconds / run[0].events)
        cost, known = runs[len(runs) // 2]
        spread = [run[0].figures()[WORKER_CPU] for run in (runs[0], runs[-1])]
        rows.append({"x": x, **cost.figures(), "least_and_most": spread, "rounds": len(runs), **known})
    return {"points": rows, "exponent": _exponent([(row["x"], row[WORKER_CPU]) for row in rows])}


def _exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of the logarithm of cost over that of size; None if that says nothing."""
    logs = [(log(x), log(cost)) for x, cost in points if x > 0 and cost > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    return round(linear_regression(*zip(*logs, strict=True)).slope, 3)


async def _time_further(
    ground: Ground, traffic: Traffic, numbers: range, events: int
) -> tuple[Cost, dict[str, float]]:
    """Time further messages of these conversations, at random; how many of them shared a write."""
    places, began_ms = array("H", [OPENED_WITH]) * traffic.conversations, now_ms() - MINUTE_MS
    messages = []
    for turn, number in enumerate(random.Random(SEED).choices(numbers, k=events)):
        messages.append(traffic.message(number, places[number], began_ms + turn * MINUTE_MS // events))
        places[number] += 1
    before = await ground.query(CHUNKS)
    cost = await ground.time(messages)
    writes = await ground.query(CHUNKS) - before
    return cost, {"events_a_write": round(events / max(1, writes), 2)}


async def time_new(ground: Ground, events: int) -> tuple[Traffic, Cost]:
    """Time conversations from their first message to their last."""
    traffic = _new_traffic(events)
    return traffic, await ground.time(_until_now(traffic, EVENTS_A_CONVERSATION, PACE_MS))


def _new_traffic(events: int) -> Traffic:
    return Traffic("new", max(1, events // EVENTS_A_CONVERSATION), events)


def _until_now(traffic: Traffic, messages: int, pace_ms: int) -> Iterator[Message]:
    """All messages of conversations that all go on."""
    return traffic.in_turns(range(messages), pace_ms, now_ms() - messages * pace_ms)


def _strewn(few: Sequence[Message], many: list[Message]) -> list[Message]:
    """All of both, the few at random among the many, which keep their order."""
    dice, total = random.Random(SEED), len(few) + len(many)
    places = set(dice.sample(range(total), len(few)))
    of_few, of_many = iter(few), iter(many)
    return [next(of_few if place in places else of_many) for place in range(total)]


async def _fill(ground: Ground, records: int) -> None:
    """Put settled conversations and their final records into the ledger, past the worker."""
    conversations = max(1, records // RECORDS_A_CONVERSATION)
    async with session(ground.dsn) as connection:
        for query, total in ((FILL_RECORDS, records), (FILL_CONVERSATIONS, conversations)):
            for first in range(0, total, ROWS_AT_ONCE):
                last = min(first + ROWS_AT_ONCE, total)
                await connection.execute(query, first, last, total, RECORDS_A_CONVERSATION)
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")


@click.command()
@click.option("--only", type=click.Choice(list(CURVES)), multiple=True, help="These curves only.")
@click.option("--scale", type=click.FloatRange(min=0, min_open=True), default=1.0, help="Share of full size.")
@click.option("--rounds", type=click.IntRange(min=1), default=1, help="Runs of each point; medians count.")
@measure_options
def main(only: tuple[str, ...], scale: float, rounds: int, home: Path, results: Path) -> None:
    """Measure how the cost of an event grows, on real parts."""
    measuring("growth", home, results, lambda parts: grow(parts, Size(scale), rounds, only or tuple(CURVES)))


if __name__ == "__main__":
    main()
