"""Drills on the topics themselves: partitions added, and topics deleted and created anew."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from itertools import cycle

from aiokafka.admin import NewPartitions

from quarterhour.parts.topics import PARTITIONS, administration, create_topics, delete_topics
from schemas.topics import Topic
from streams.exits import Exit
from tests.drills.arena import Arena, Fault
from tests.drills.drill import Drill
from tests.drills.kafka import something_unsaved
from tests.drills.load import one_round
from tests.drills.restoring import WAY_ON, take_over
from tests.drills.supervisor import Slot
from tests.drills.verdict import Logged
from tests.streams.stage import now_ms

UP_TO_SECONDS = 2.0
FEWEST_EVENTS = 1_000
MOVED = "its keys have moved"
ANOTHER = "was deleted and created anew"

SET_ASIDE = "select distinct topic from billing.source_partition where strpos(topic, '@') > 0"


class State(Enum):
    """Of the workers when topics are made anew."""

    STOPPED = auto()
    FROZEN = auto()
    RUNNING = auto()


async def partitions_added(arena: Arena, tries: int) -> None:
    """One partition more, of conversations only: nearly every event goes elsewhere from then on."""
    await _repartition(arena, {Topic.CONVERSATION: PARTITIONS[Topic.CONVERSATION] + 1})


async def partitions_doubled(arena: Arena, tries: int) -> None:
    """Twice as many partitions of both topics of a shard: they still fit together, but not what was read."""
    pair = (Topic.CONVERSATION, Topic.AGENT_HANDOFF)
    await _repartition(arena, {topic: 2 * PARTITIONS[topic] for topic in pair})


async def topics_made_anew(arena: Arena, tries: int) -> None:
    """Deleted and created anew with more records, while no worker runs, while all are frozen, or run.

    Workers refuse; then an operator lets them go on with the new topics, and what the old ones lost is sent
    again.
    """
    await arena.flow.end()
    old: list[Logged] = []
    slots = await arena.start_workers(2)
    for _, state in zip(range(tries), cycle(State), strict=False):
        await _publish(arena, FEWEST_EVENTS)
        await arena.recovered()
        async with arena.fault() as fault:
            log = await _made_anew(arena, slots, state)
            fault.began = time.monotonic()
            await _outgrow(arena, log)
            await _all_refuse(arena, slots, state)
            await _note_bites(arena, fault, log)
            old += await _taken_over(arena, log)
            await asyncio.gather(*(slot.start_again() for slot in slots))
    arena.log = old + await arena.read_log()


async def _repartition(arena: Arena, counts: Mapping[Topic, int]) -> None:
    slots = await arena.start_workers(2)
    for slot in slots:
        slot.expect(Exit.REFUSED)
    await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
    async with arena.fatal() as fault:
        await something_unsaved(arena, fault)
        await _add_partitions(arena, counts)
        for slot in slots:
            assert MOVED in (await slot.ended()).log, slot.worker.log
        again = arena.stage.start()
        assert await again.ended() == Exit.REFUSED, again.log


async def _add_partitions(arena: Arena, counts: Mapping[Topic, int]) -> None:
    async with administration(arena.stand.brokers) as admin:
        await admin.create_partitions(
            {arena.stand.topics[topic]: NewPartitions(count) for topic, count in counts.items()}
        )


async def _made_anew(arena: Arena, slots: Sequence[Slot], state: State) -> list[Logged]:
    """Delete and create the topics; return all that they held, of which some is not saved if nobody ran."""
    for slot in slots:
        if state is State.STOPPED:
            assert await slot.stop() == 0, slot.worker.log
        elif state is State.FROZEN:
            slot.freeze()
    await _publish(arena, FEWEST_EVENTS)
    log = await arena.read_log()
    for slot in slots:
        slot.expect(Exit.REFUSED)
    brokers, topics = arena.stand.brokers, arena.stand.topics
    await delete_topics(brokers, list(topics.values()))
    created = await create_topics(brokers, {topics[role]: count for role, count in PARTITIONS.items()})
    assert set(created) == set(topics.values()), "the old topics are still there"
    return log


async def _outgrow(arena: Arena, log: Sequence[Logged]) -> None:
    """Publish until every partition is longer than it was: what the ledger is to read next is there."""
    before = Counter(record[:2] for record in log)
    await _publish(arena, len(log))
    while any(end <= before[place] for place, end in (await arena.watch.ends()).items()):
        await _publish(arena, FEWEST_EVENTS)


async def _all_refuse(arena: Arena, slots: Sequence[Slot], state: State) -> None:
    for slot in slots:
        if state is State.STOPPED:
            worker = arena.stage.start(**slot.settings)
            assert await worker.ended() == Exit.REFUSED and ANOTHER in worker.log, worker.log
        else:
            slot.thaw()
            worker = await slot.ended()
        assert WAY_ON in worker.log, worker.log


async def _note_bites(arena: Arena, fault: Fault, log: Sequence[Logged]) -> None:
    """Worth a refusal: records were not saved, or the ledger's offsets are within the new logs."""
    await arena.watch.look()
    saved, ends = arena.watch.saved, await arena.watch.ends()
    if any(record.offset >= saved[record[:2]] for record in log):
        fault.bites.add("unsaved offsets")
    if all(saved[place] < end for place, end in ends.items()):
        fault.bites.add("offsets that the new logs have")


async def _taken_over(arena: Arena, log: Sequence[Logged]) -> list[Logged]:
    """Let an operator go on, and send again what was not saved; return what was, as it is called now."""
    saved, before = dict(arena.watch.saved), await _names_aside(arena)
    await take_over(arena)
    names = {name.partition("@")[0]: name for name in await _names_aside(arena) - before}
    await arena.flow.publish([it.value for it in log if it.value and it.offset >= saved[it[:2]]])
    return [it._replace(topic=names[it.topic]) for it in log if it.offset < saved[it[:2]]]


async def _names_aside(arena: Arena) -> set[str]:
    return {name for (name,) in await arena.stage.query(SET_ASIDE)}


async def _publish(arena: Arena, events: int) -> None:
    lines = list(one_round(events, arena.dice.randrange(1 << 30), now_ms()))
    await arena.flow.publish(lines)
    arena.flow.acknowledged += lines


DRILLS = (
    Drill("partition added to a topic of a pair: refused", partitions_added, tries=1),
    Drill("partitions of both topics of a pair doubled: refused", partitions_doubled, tries=1),
    Drill("topics deleted and created anew: refused, taken over", topics_made_anew, tries=3),
)
