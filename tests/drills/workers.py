"""Drills on workers: killed, coming and going."""

from __future__ import annotations

from tests.drills.arena import Arena
from tests.drills.drill import Drill
from tests.drills.points import most_telling_first
from tests.drills.supervisor import Slot
from tests.drills.trap import Trap, behind_a_trap, points_of_a_checkpoint
from tests.drills.watch import Place
from tests.streams.stage import until

UP_TO_SECONDS = 2.0
ALL_POINTS = 100
"""More than there are."""
STATIC_SESSION_TIMEOUT = "30s"
"""Longer than a restart takes: that is the point of static membership."""


async def kill_at_random(arena: Arena, tries: int) -> None:
    """`kill -9` of one of two workers at a random moment."""
    slots = await arena.start_workers(2)
    for _ in range(tries):
        victim = arena.dice.choice(slots)
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        before = victim.worker
        async with arena.fault() as fault:
            victim.freeze()  # so that the look sees what the kill meets
            await arena.look(fault, victim)
            victim.kill()
        await victim.restarted(before)


async def kill_at_each_point(arena: Arena, tries: int) -> None:
    """`kill -9` of the worker that comes first to each named point of a checkpoint."""
    slots, trap = await arena.start_workers(2), arena.stand.more
    points = await points_of_a_checkpoint(arena.stand.parts)
    for point in most_telling_first(points)[:tries]:
        held = await trap.catch(point)
        victim = held.victim(slots)
        before = victim.worker
        async with arena.fault() as fault:
            await arena.look(fault, victim, trap.ports_of(victim))
            victim.kill()
            held.drop()
        await victim.restarted(before)
        await arena.recovered()
    check_points(arena, points, trap)


async def join_and_leave(arena: Arena, tries: int) -> None:
    """A third worker joins and leaves while two go on; each change moves partitions."""
    await arena.start_workers(2)
    for _ in range(tries):
        async with arena.fault():
            (third,) = await arena.start_workers(1)
            await until(lambda worker=third: owns(arena, worker), "the third worker has partitions")
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await arena.look(fault, third)
            expect_order(arena, third, await third.stop())
        if await owns(arena, third):
            arena.row.findings.append(f"{third.worker.name} has left and still owns partitions")


async def rolling_restart(arena: Arena, tries: int) -> None:
    """Static members restarted one after the other: each has its own partitions again, nobody else any."""
    slots = [
        slot
        for name in ("static-0", "static-1")
        for slot in await arena.start_workers(1, instance_id=name, session_timeout=STATIC_SESSION_TIMEOUT)
    ]
    for number in range(tries * len(slots)):
        slot, other = slots[number % 2], slots[1 - number % 2]
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        before, claims = await _holders(arena, slots), other.worker.owners
        async with arena.fault() as fault:
            await arena.look(fault, slot)
            expect_order(arena, slot, await slot.restart())
        if await _holders(arena, slots) != before:
            arena.row.findings.append(f"a restart of {slot.worker.name}'s slot has moved partitions")
        if other.worker.owners != claims:
            arena.row.findings.append(f"a restart has made {other.worker.name} claim again")


def check_points(arena: Arena, points: list[str], trap: Trap) -> None:
    """See that no worker sent a checkpoint with a point that is not among those struck at."""
    if unknown := trap.passed.keys() - set(points):
        arena.row.findings.append(f"points that `full_checkpoint` does not have: {sorted(unknown)}")


def expect_order(arena: Arena, slot: Slot, status: int) -> None:
    """See that a worker that was asked to stop ended in order."""
    if status:
        arena.row.findings.append(f"{slot.worker.name} ended with {status} when asked to stop")


async def owns(arena: Arena, slot: Slot) -> bool:
    """Whether a worker is the owner of anything."""
    await arena.watch.look()
    return not slot.worker.owners.isdisjoint(arena.watch.owners.values())


async def _holders(arena: Arena, slots: list[Slot]) -> dict[Place, int]:
    """In which of the slots each source partition is now."""
    await arena.watch.look()
    return {
        place: number
        for place, owner in arena.watch.owners.items()
        for number, slot in enumerate(slots)
        if owner in slot.worker.owners
    }


DRILLS = (
    Drill("`kill -9` of one of two workers, at random", kill_at_random, tries=50, short_tries=2),
    Drill(
        "`kill -9` of a worker, at each point of a checkpoint",
        kill_at_each_point,
        tries=ALL_POINTS,
        short_tries=3,
        stand=behind_a_trap,
    ),
    Drill("a third worker joins and leaves", join_and_leave, tries=20),
    Drill("rolling restart with static membership", rolling_restart, tries=5),
)
