"""Drills on clocks that are wrong: a producer's, and that of a worker's machine.

A worker's clock is turned by libfaketime, which the process loads first; monotonic time stays as it is.
"""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime
from functools import partial
from pathlib import Path

from tests.drills.arena import Arena
from tests.drills.drill import Drill
from tests.drills.supervisor import Slot
from tests.drills.workers import expect_order, owns
from tests.streams.stage import event, now_ms, until

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
AHEAD_MS = (HOUR_MS, 365 * 24 * HOUR_MS)
MAX_AHEAD_MS = 5 * MINUTE_MS
"""So far ahead of Kafka's clock an event may be dated, by default."""
CONVERSATIONS = 40
"""Of a producer whose clock is ahead, at each try: some in every shard."""
KINDS_AHEAD = ("user", "started", "delivered")
"""On both topics of a shard, as its watermark is that of the older one, and on that of alerts."""
WATCHED_SECONDS = 2.0
LEEWAY_SECONDS = 120

AHEAD_OF_TIME = "select count(*)::int from billing.dead_letter where reason = 'time_ahead'"
TOUCHED = """
select c.conversation_id, c.revision, c.settled, r.status, r.user_messages
from billing.conversation c left join billing.session_record r on r.subject_id = c.conversation_id
where c.conversation_id like 'ahead-%'
"""
# Not by records: one that was final in time stays so when late facts move its settling into the future. A
# conversation does not: with each new fact it has yet to settle.
SETTLED_EARLY = "select count(*)::int from billing.conversation where settled and settles_at_ms > $1"
UNTOUCHED = (1, False, "open", 1)
"""Revision, whether it is settled, its record's status and user messages: as the event of now left them."""
NEWEST_CLOCK = "select max(clock_ms) from billing.source_partition"


async def producer_clock_ahead(arena: Arena, tries: int) -> None:
    """Conversations have one event of now, and others that are dated in an hour and in a year."""
    await arena.start_workers(2)
    for number in range(tries):
        before = await _value(arena, AHEAD_OF_TIME)
        async with arena.fault() as fault:
            sent = [f"ahead-{number}-{n}" for n in range(CONVERSATIONS)]
            await arena.stage.publish(line for conversation in sent for line in _lines(conversation))
            dead = before + len(sent) * len(AHEAD_MS) * len(KINDS_AHEAD)
            await until(partial(_is_at_least, arena, AHEAD_OF_TIME, dead), "the events are dead letters")
            fault.bites.add("dead letters of the future")
        await arena.pass_time(WATCHED_SECONDS)
        await _check_none_settled(arena)


async def worker_clock_behind(arena: Arena, tries: int) -> None:
    """A worker joins whose machine is two hours back, works for a while and leaves again."""
    await arena.start_workers(1)
    for _ in range(tries):
        await _let_work(arena, -2)


async def worker_clock_ahead(arena: Arena, tries: int) -> None:
    """The same, two hours ahead: sessions settle too early, and what comes then corrects them."""
    await arena.start_workers(1)
    for _ in range(tries):
        await _let_work(arena, 2)
        reached = await _value(arena, NEWEST_CLOCK)
        if reached < now_ms() + HOUR_MS:
            arena.row.findings.append("the watermark is not ahead: nothing settled too early")
    early = await _value(arena, SETTLED_EARLY, now_ms())
    arena.row.notes.append(f"two hours ahead: {early} conversations had settled too early at the end")


async def _let_work(arena: Arena, hours: int) -> None:
    async with arena.fault() as fault:
        (wrong,) = await arena.start_workers(1, **_faketime(hours))
        await until(partial(owns, arena, wrong), "the worker with the wrong clock has partitions")
        off_seconds = _clock(wrong) - now_ms() / 1000
        if abs(off_seconds - hours * 3600) < LEEWAY_SECONDS:
            fault.bites.add(f"clock {hours:+} h")
        else:
            arena.row.findings.append(f"the worker's clock is off by {off_seconds:.0f} s, not {hours} h")
    await arena.pass_time(WATCHED_SECONDS)
    async with arena.fault() as fault:
        await arena.look(fault, wrong)
        expect_order(arena, wrong, await wrong.stop())


async def _check_none_settled(arena: Arena) -> None:
    """Nothing settled because of them: neither their conversations nor anything that was open."""
    newest, early = await _value(arena, NEWEST_CLOCK), await _value(arena, SETTLED_EARLY, now_ms())
    if newest > now_ms() + MAX_AHEAD_MS or early:
        ahead_seconds = (newest - now_ms()) // 1000
        arena.row.findings.append(
            f"{early} conversations settled too early, a clock is {ahead_seconds} s ahead"
        )
    wrong = [row for row in await arena.stage.query(TOUCHED) if tuple(row)[1:] != UNTOUCHED]
    if wrong:
        arena.row.findings.append(f"{len(wrong)} conversations were touched, such as {wrong[0]}")


async def _value(arena: Arena, sql: str, *arguments: int) -> int:
    ((value,),) = await arena.stage.query(sql, *arguments)
    return int(value)


async def _is_at_least(arena: Arena, sql: str, wanted: int) -> bool:
    return await _value(arena, sql) >= wanted


def _lines(conversation: str) -> list[bytes]:
    """What such a producer sends of a conversation."""
    now = now_ms()
    ahead = [event(kind, now + ahead_ms, conversation) for ahead_ms in AHEAD_MS for kind in KINDS_AHEAD]
    return [event("user", now, conversation), *ahead]


def _clock(slot: Slot) -> float:
    """What time it was for a worker when it last logged, in seconds since 1970."""
    last = [line for line in slot.worker.log.splitlines() if line.startswith("{")][-1]
    return datetime.fromisoformat(json.loads(last)["timestamp"]).timestamp()


def _faketime(hours: int) -> dict[str, str]:
    """The environment of a process whose clock is off by so many hours."""
    found = importlib.util.find_spec("libfaketime")
    library = Path(found.origin or "").parent / "vendor/libfaketime/src/libfaketime.so.1" if found else None
    if library is None or not library.is_file():
        raise RuntimeError(
            "libfaketime is missing: `make install` brings it, or `pip install libfaketime==3.0.1`"
        )
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


DRILLS = (
    Drill("a producer's clock an hour and a year ahead", producer_clock_ahead, tries=10),
    Drill("the clock of a worker's machine two hours back", worker_clock_behind, tries=5),
    Drill("the clock of a worker's machine two hours ahead", worker_clock_ahead, tries=5),
)
