"""Drills on workers that are frozen past their session timeout, and thawed when another has taken over."""

from __future__ import annotations

from streams.exits import Exit
from tests.drills.arena import Arena
from tests.drills.drill import Drill
from tests.drills.holdups import watching_locks
from tests.drills.points import most_telling_first
from tests.drills.supervisor import Slot
from tests.drills.trap import Held, Trap, behind_a_trap, points_of_a_checkpoint
from tests.drills.workers import ALL_POINTS, UP_TO_SECONDS, check_points
from tests.streams.stage import WorkerProcess, until

SESSION_TIMEOUT_SECONDS = 6.0
IDLE_IN_TRANSACTION_SECONDS = 5.0
HOLD_UP_LIMIT_SECONDS = IDLE_IN_TRANSACTION_SECONDS + 1
TAKEOVER_LIMIT_SECONDS = SESSION_TIMEOUT_SECONDS + IDLE_IN_TRANSACTION_SECONDS + 8
"""With a margin for the rebalance and for what was left lying, on a busy machine."""


async def freeze_at_random(arena: Arena, tries: int) -> None:
    """SIGSTOP of one of two workers at a random moment, until the other has taken over; then SIGCONT."""
    slots = await arena.start_workers(2)
    for _ in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        await _freeze(arena, arena.dice.choice(slots), "at random")


async def freeze_at_each_point(arena: Arena, tries: int) -> None:
    """The same, of the worker that comes first to each named point of a checkpoint."""
    slots, trap = await arena.start_workers(2), arena.stand.more
    points = await points_of_a_checkpoint(arena.stand.parts)
    for point in most_telling_first(points)[:tries]:
        held = await trap.catch(point)
        await _freeze(arena, held.victim(slots), point, held)
    check_points(arena, points, trap)


async def _freeze(arena: Arena, victim: Slot, when: str, held: Held | None = None) -> None:
    trap: Trap = arena.stand.more
    zombie, owners = victim.worker, victim.worker.owners
    async with watching_locks(arena.stage.dsn) as hold_up, arena.fault() as fault:
        victim.freeze()
        await arena.look(fault, victim, trap.ports_of(victim))
        await until(lambda: _is_taken_over(arena, owners), "the other worker has taken over")
    _check_hold_up(arena, when, hold_up.seconds)
    commits, rollbacks = trap.commits_of(owners), trap.rollbacks_of(owners)
    saved = dict(arena.watch.saved)
    victim.thaw()
    if held:
        held.release()
    await until(lambda: _knows(zombie, owners), "the zombie has found out")
    if not zombie.running and zombie.status != Exit.FENCED:
        arena.row.findings.append(f"frozen {when}, the zombie ended with {zombie.status}")
    await victim.ready()
    await arena.recovered()
    written, refused = trap.commits_of(owners) - commits, trap.rollbacks_of(owners) - rollbacks
    lower = [place for place, offset in saved.items() if arena.watch.saved[place] < offset]
    if written or lower or not await _is_taken_over(arena, owners):
        arena.row.findings.append(f"frozen {when}, the zombie wrote {written} checkpoints; back went {lower}")
    if refused > 1:
        arena.row.findings.append(f"frozen {when}, the zombie went on after it was fenced: {refused} tries")


def _check_hold_up(arena: Arena, when: str, seconds: float) -> None:
    recovery = arena.row.recoveries[-1]
    found = f"frozen {when}: taken over in {recovery:.1f} s, longest wait for a lock {seconds:.1f} s"
    arena.row.notes.append(found)
    if recovery > TAKEOVER_LIMIT_SECONDS or seconds > HOLD_UP_LIMIT_SECONDS:
        arena.row.findings.append(f"{found}: too long")


async def _is_taken_over(arena: Arena, owners: set[str]) -> bool:
    await arena.watch.look()
    return owners.isdisjoint(arena.watch.owners.values())


async def _knows(zombie: WorkerProcess, owners: set[str]) -> bool:
    """Whether it has ended, or goes on with a new claim."""
    return not zombie.running or not zombie.owners <= owners


DRILLS = (
    Drill(
        "a worker frozen past its session timeout, at random", freeze_at_random, tries=10, stand=behind_a_trap
    ),
    Drill(
        "a worker frozen past its session timeout, at each point of a checkpoint",
        freeze_at_each_point,
        tries=ALL_POINTS,
        stand=behind_a_trap,
    ),
)
