"""Drills on workers: killed, frozen, coming and going."""

from __future__ import annotations

from tests.drills.arena import Arena
from tests.drills.drill import Drill

UP_TO_SECONDS = 2.0


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


DRILLS = (Drill("`kill -9` of one of two workers, at random", kill_at_random, tries=50, short_tries=2),)
