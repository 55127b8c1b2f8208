"""The faults of a soak, and the ground on which they strike: worker A stays, worker B falls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.drills.arena import Arena, Fault
from tests.drills.link import Link
from tests.drills.live import Feed
from tests.drills.soak_report import Plan, Report
from tests.drills.supervisor import Slot
from tests.drills.watch import Place
from tests.streams.stage import until

SETTINGS = {"allowed_lateness": "2min", "checkpoint_interval": "1s", "session_timeout": "10s"}
STATIC = {"instance_id": "soak-b"}
REJOIN_LIMIT_SECONDS = 60.0

Strike = Callable[["Ground", Fault], Awaitable[None]]


@dataclass
class Ground(Arena):
    """The arena of a soak: what it knows beside that."""

    feed: Feed = field(kw_only=True)
    link: Link = field(kw_only=True)
    plan: Plan = field(kw_only=True)
    report: Report = field(kw_only=True)
    used_bytes_before: int = field(kw_only=True)
    rotation: str = ""
    ends: dict[Place, int] = field(default_factory=dict)

    @property
    def a(self) -> Slot:
        """The worker that is never killed; it reaches PostgreSQL through the link."""
        return self.slots[0]

    @property
    def b(self) -> Slot:
        """The worker that is."""
        return self.slots[1]

    async def _is_unsaved(self, victim: Slot | None) -> bool:
        owners = set(self.watch.owners.values()) if victim is None else victim.worker.owners
        return any(
            self.watch.saved[place] < self.ends.get(place, 0)
            for place, owner in self.watch.owners.items()
            if owner in owners
        )

    async def new_slot(self, **settings: str) -> Slot:
        """One more worker, ready."""
        slot = Slot(self.stage, len(self.slots), {**SETTINGS, **settings})
        self.slots.append(slot)
        await slot.worker.ready()
        return slot

    async def retire(self, slot: Slot) -> None:
        """Stop a worker in order."""
        self.slots.remove(slot)
        status = await slot.stop()
        if status:
            self.row.findings.append(f"{slot.worker.name} ended with {status} when asked to stop")
        self.row.exits += slot.exits

    async def both_at_work(self) -> None:
        """Wait until A and B own partitions."""

        async def at_work() -> bool:
            owners = set(self.watch.owners.values())
            return all(slot.worker.running and slot.worker.owners & owners for slot in self.slots[:2])

        await until(at_work, "both workers own partitions", REJOIN_LIMIT_SECONDS)

    async def mend(self) -> None:
        """Put all in order after a fault that did not end well, so that the next ones can strike."""
        self.link.mend()
        await asyncio.to_thread(self.stand.parts.up)
        for slot in self.slots[2:]:
            slot.let_go()
            slot.worker.kill()
        del self.slots[2:]
        for place, slot in enumerate(self.slots):
            try:
                slot.check()
                slot.thaw()
            except AssertionError as error:
                self.row.findings.append(str(error))
                self.row.exits += slot.exits
                self.slots[place] = Slot(self.stage, place, slot.settings)


async def postgres_stopped(ground: Ground, fault: Fault) -> None:
    """PostgreSQL stops in a hurry and starts again."""
    server = ground.stand.parts.postgres
    with _frozen(ground.slots):
        await ground.look(fault)
        await asyncio.to_thread(server.stop, "immediate")
    await asyncio.to_thread(server.start)


async def connections_reset(ground: Ground, fault: Fault) -> None:
    """Worker A's connections to PostgreSQL are reset."""
    with _frozen([ground.a]):
        await ground.look(fault, ground.a, ground.link.ports)
        ground.link.reset()


async def worker_killed(ground: Ground, fault: Fault) -> None:
    """`kill -9` of worker B."""
    before = ground.b.worker
    ground.b.freeze()  # so that the look sees what the kill meets
    await ground.look(fault, ground.b)
    ground.b.kill()
    await ground.b.restarted(before)


async def worker_frozen(ground: Ground, fault: Fault) -> None:
    """Worker B stands still until another has its partitions, and then goes on."""
    mine = [place for place, owner in ground.watch.owners.items() if owner in ground.b.worker.owners]
    before = {place: ground.watch.owners[place] for place in mine}

    async def taken_over() -> bool:
        return all(ground.watch.owners[place] != owner for place, owner in before.items())

    ground.b.freeze()
    try:
        await ground.look(fault, ground.b)
        await until(taken_over, "another worker has the frozen one's partitions", REJOIN_LIMIT_SECONDS)
    finally:
        ground.b.thaw()


async def broker_killed(ground: Ground, fault: Fault) -> None:
    """The broker is killed and starts again."""
    broker = ground.stand.parts.kafka
    await ground.look(fault)
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)


async def third_worker(ground: Ground, fault: Fault) -> None:
    """A third worker joins, has its share saved, and leaves."""
    await ground.look(fault)
    third = await ground.new_slot()
    try:
        await until(lambda: _owns(ground, third), "the third worker has partitions", REJOIN_LIMIT_SECONDS)
        await ground.recovered()
    finally:
        await ground.retire(third)


CALM: tuple[Strike, ...] = (postgres_stopped, worker_killed, connections_reset)
"""Leave worker A's claim alone: B comes back as a static member before its session ends."""
STORMY: tuple[Strike, ...] = (
    *(worker_killed, worker_frozen, postgres_stopped, broker_killed, connections_reset, third_worker),
)


@contextmanager
def _frozen(slots: Iterable[Slot]) -> Iterator[None]:
    """Workers stand still in this block."""
    standing = list(slots)
    for slot in standing:
        slot.freeze()
    try:
        yield
    finally:
        for slot in standing:
            slot.thaw()


async def _owns(ground: Ground, slot: Slot) -> bool:
    return bool(slot.worker.owners & set(ground.watch.owners.values()))
