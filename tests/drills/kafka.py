"""Drills on Kafka's brokers and on the network to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

from schemas.topics import Topic
from tests.drills.arena import Arena, Fault
from tests.drills.cluster import APART, Brokers, Network, on_brokers_apart, on_one_broker, on_three_brokers
from tests.drills.drill import Drill
from tests.drills.supervisor import Slot
from tests.drills.watch import Place
from tests.streams.stage import now_ms, until

UP_TO_SECONDS = 2.0
DOWN_SECONDS = (1.0, 3.0)
# Of the workers' session timeout of 6 s.
SHORTER_SECONDS = 2.0
LONGER_SECONDS = 9.0
# A partition's clock may be of the fetch that was under way when its broker was cut off.
LAST_FETCH_MS = 1_000
GROUPS_OFFSETS = "__consumer_offsets"

CLOCKS = "select topic, clock_ms from billing.source_partition where partition = $1"


async def broker_killed(arena: Arena, tries: int) -> None:
    """`kill -9` of the only broker; it is started again after a while."""
    kafka = arena.stand.parts.kafka
    await arena.start_workers(2)
    for _ in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await something_unsaved(arena, fault)
            await asyncio.to_thread(kafka.kill)
            await arena.pass_time(arena.dice.uniform(*DOWN_SECONDS))
            await asyncio.to_thread(kafka.start)


async def one_of_three_brokers_killed(arena: Arena, tries: int) -> None:
    """`kill -9` of one broker; the others carry on without it, and when it is back another is killed."""
    cluster = _brokers(arena).cluster
    topics = [*arena.stand.topics.values(), GROUPS_OFFSETS]
    await start_on_networks(arena)
    victim = 0
    for number in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        if number % 2 == 0:
            victim = await cluster.coordinator(arena.stage.group)
        else:
            victim = arena.dice.choice([node for node in cluster.nodes if node != victim])
        async with arena.fault() as fault:
            await something_unsaved(arena, fault)
            await cluster.kill_one(victim)
        await cluster.start_one(victim)
        await cluster.whole(topics)


async def network_cut_short(arena: Arena, tries: int) -> None:
    """No network between one worker or both and the broker, for less than the session timeout."""

    async def stay_cut(fault: Fault, networks: Sequence[Network]) -> None:
        await arena.pass_time(SHORTER_SECONDS)

    await _cut_networks(arena, tries, stay_cut)


async def network_cut_long(arena: Arena, tries: int) -> None:
    """No network for longer than the session timeout: if the other worker has one, it takes over."""

    async def stay_cut(fault: Fault, networks: Sequence[Network]) -> None:
        if len(networks) == 1:
            await owns_all(arena, arena.slots[-1])
            await arena.recovered()
            fault.ended = time.monotonic()
        await arena.pass_time(fault.began + LONGER_SECONDS - time.monotonic())

    await _cut_networks(arena, tries, stay_cut)


async def one_broker_unreachable(arena: Arena, tries: int) -> None:
    """One of a shard's two partitions cannot be read, the other can: the shard's watermark stands still.

    In turn no records come on a connection that looks well, and the partition's broker cannot be reached.
    """
    place = arena.stand.topics[Topic.CONVERSATION], APART
    far = (await _brokers(arena).cluster.leaders([place[0]]))[place]
    links = [network.links[far] for network in _brokers(arena).networks]
    await start_on_networks(arena)
    for number in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await something_unsaved(arena, fault)
            struck_ms = now_ms()
            if number % 2:
                for link in links:
                    link.cut()
                await arena.pass_time(LONGER_SECONDS)
            else:
                reader = next(n for n, slot in enumerate(arena.slots) if _owns(arena, slot, place))
                links[reader].abandon_busiest()
                await _sibling_goes_on(arena, struck_ms)
            await _stood_still(arena, struck_ms)
            for link in links:
                link.mend()
                link.reset()
        await all_ready(arena)


async def _cut_networks(
    arena: Arena, tries: int, stay_cut: Callable[[Fault, Sequence[Network]], Awaitable[None]]
) -> None:
    """Cut one worker's network or both, half-open or with a reset, and mend it when `stay_cut` is over."""
    await start_on_networks(arena)
    for _, (networks, half_open) in zip(range(tries), cycle(_cuts(arena)), strict=False):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await something_unsaved(arena, fault)
            for network in networks:
                network.silence() if half_open else network.cut()
            await stay_cut(fault, networks)
            for network in networks:
                network.mend()
        await all_ready(arena)


async def something_unsaved(arena: Arena, fault: Fault) -> None:
    """Wait for a moment when the workers have something to lose, and note it; the fault begins then."""

    async def unsaved() -> bool:
        ends = await arena.watch.ends()
        await arena.watch.look()
        return not arena.watch.has_saved(ends)

    await until(unsaved, "something in Kafka is not saved")
    fault.bites.add("unsaved offsets")
    fault.began = time.monotonic()


async def start_on_networks(arena: Arena) -> None:
    """Start a worker on each network."""
    networks = _brokers(arena).networks
    await asyncio.gather(*(arena.start_workers(1, kafka_brokers=network.brokers) for network in networks))
    await all_ready(arena)


async def all_ready(arena: Arena) -> None:
    """Wait until each worker, or the one that was started in its place, is ready."""
    for slot in arena.slots:
        await slot.ready()


async def owns_all(arena: Arena, slot: Slot) -> None:
    """Wait until one worker owns all partitions."""

    async def has_all() -> bool:
        return set(arena.watch.owners.values()) <= slot.worker.owners

    await until(has_all, f"{slot.worker.name} takes over")


async def _sibling_goes_on(arena: Arena, struck_ms: int) -> None:
    async def has_gone_on() -> bool:
        return (await _clocks(arena))[Topic.AGENT_HANDOFF] > struck_ms + LONGER_SECONDS * 1000

    await until(has_gone_on, "the other partition of the shard goes on")


async def _stood_still(arena: Arena, struck_ms: int) -> None:
    """See that the clock of what cannot be read has not gone on, and what the workers say of themselves."""
    clock_ms = (await _clocks(arena))[Topic.CONVERSATION]
    if clock_ms > struck_ms + LAST_FETCH_MS:
        arena.row.findings.append(f"a clock went {clock_ms - struck_ms} ms past what could be read")
    pages = [await slot.worker.page("/readyz") for slot in arena.slots]
    arena.row.notes.append(f"/readyz when a partition cannot be read: {[text for _, text in pages]}")


async def _clocks(arena: Arena) -> dict[Topic, int]:
    roles = {name: role for role, name in arena.stand.topics.items()}
    rows = await arena.stage.query(CLOCKS, APART)
    return {roles[topic]: clock_ms for topic, clock_ms in rows}


def _owns(arena: Arena, slot: Slot, place: Place) -> bool:
    return arena.watch.owners[place] in slot.worker.owners


def _brokers(arena: Arena) -> Brokers:
    brokers: Brokers = arena.stand.more
    return brokers


def _cuts(arena: Arena) -> list[tuple[Sequence[Network], bool]]:
    """Whose network, and whether connections stay half-open."""
    both = _brokers(arena).networks
    return [(both[:1], True), (both, False), (both[:1], False), (both, True)]


DRILLS = (
    Drill("`kill -9` of the only broker, started again", broker_killed, tries=5),
    Drill(
        "`kill -9` of one of three brokers, then another", one_of_three_brokers_killed, 6, 2, on_three_brokers
    ),
    Drill("network to Kafka cut, shorter than the session", network_cut_short, 8, 2, on_one_broker),
    Drill("network to Kafka cut, longer than the session", network_cut_long, 8, 1, on_one_broker),
    Drill("one partition of a shard unreachable", one_broker_unreachable, 4, 1, on_brokers_apart),
)
