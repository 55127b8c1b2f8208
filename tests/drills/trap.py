"""A trap between workers and PostgreSQL: it holds one of them at a named point of a checkpoint."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from quarterhour.parts import Parts
from sinks.postgres import PostgresLedger
from tests.drills.points import COMMIT, COMMITTED, ROLLBACK, Dialogue
from tests.drills.stand import Stand, fresh_database, on_local_parts
from tests.drills.supervisor import Slot
from tests.drills.watch import local_ports
from tests.sinks.builders import start_worker
from tests.sinks.relay import Connection, relay

REACHED_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Held:
    """A connection that is held at a point, until it is released or dropped."""

    connection: Connection
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        """Let it go on."""
        self.released.set()

    def drop(self) -> None:
        """Close it, as the kernel does for a process that has died."""
        self.connection.drop()

    def victim(self, slots: list[Slot]) -> Slot:
        """Whose worker's connection it is."""
        return next(slot for slot in slots if self.connection.client_port in local_ports(slot.pid))


class Trap:
    """Holds the first connection of any worker that reaches the point it is set at."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        """The way to the server that leads through the trap."""
        self.passed: Counter[str] = Counter()
        """How many checkpoints that have committed came through each point."""
        self._committed: list[bytes] = []
        self._rolled_back: list[bytes] = []
        self._connections: list[Connection] = []
        self._point: str | None = None
        self._caught: asyncio.Future[Held] | None = None

    async def catch(self, point: str) -> Held:
        """Set it, and wait until somebody is held there."""
        self._point, self._caught = point, asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(REACHED_LIMIT_SECONDS):
                return await self._caught
        except TimeoutError:
            raise AssertionError(f"no checkpoint came to {point!r} in {REACHED_LIMIT_SECONDS} s") from None
        finally:
            self._point = None

    def ports_of(self, slot: Slot) -> set[int]:
        """The ports of a worker, as the server sees them."""
        own = local_ports(slot.pid)
        return {it.server_port for it in self._connections if it.client_port in own}

    def commits_of(self, owners: set[str]) -> int:
        """How many checkpoints of these owners have committed."""
        return _count(self._committed, owners)

    def rollbacks_of(self, owners: set[str]) -> int:
        """How many checkpoints of these owners were rolled back by the worker."""
        return _count(self._rolled_back, owners)

    def gate(self, connection: Connection) -> _Gate:
        """The gate of a new connection."""
        self._connections.append(connection)
        return _Gate(self, connection)

    async def hold(self, point: str, connection: Connection) -> None:
        """Hold this connection up if it is the one to be caught."""
        if point == self._point and self._caught and not self._caught.done():
            held = Held(connection)
            self._caught.set_result(held)
            await held.released.wait()

    async def note(self, tag: bytes, dialogue: Dialogue, connection: Connection) -> None:
        """A checkpoint has ended, as this tag says; hold the connection up if that is the point."""
        if tag == b"ROLLBACK":
            self._rolled_back.append(dialogue.fence)
        if tag == b"COMMIT":
            self.passed.update([*dialogue.passed, COMMITTED])
            self._committed.append(dialogue.fence)
            await self.hold(COMMITTED, connection)


class _Gate:
    """The trap's gate in one connection."""

    def __init__(self, trap: Trap, connection: Connection) -> None:
        self._trap = trap
        self._connection = connection
        self._dialogue = Dialogue()
        self._ending = False

    async def pass_message(self, message: bytes) -> None:
        if point := self._dialogue.point(message):
            await self._trap.hold(point, self._connection)
            self._ending = point in (COMMIT, ROLLBACK)

    async def pass_answer(self, answer: bytes) -> None:
        # The client says nothing more until it has the answer to its COMMIT: so this is the answer.
        if self._ending and answer[:1] == b"C":
            await self._trap.note(answer[5:].partition(b"\0")[0], self._dialogue, self._connection)
        self._ending = False


def _count(fences: list[bytes], owners: set[str]) -> int:
    return sum(UUID(owner).bytes in fence for fence in fences for owner in owners)


@asynccontextmanager
async def trapping(dsn: str) -> AsyncIterator[Trap]:
    """A trap in front of this server."""
    async with relay(dsn) as passing:
        trap = Trap(passing.dsn)
        passing.new_gate = trap.gate
        yield trap


@asynccontextmanager
async def behind_a_trap(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """The local parts, and a trap (`Stand.more`) between all workers and PostgreSQL."""
    async with on_local_parts(parts, folder) as stand, trapping(stand.dsn) as trap:
        yield replace(stand, worker_settings={"postgres_dsn": trap.dsn}, more=trap)


async def points_of_a_checkpoint(parts: Parts) -> list[str]:
    """All points in their order: those of a checkpoint that writes something of every kind."""
    async with fresh_database(parts) as dsn, trapping(dsn) as trap:
        ledger = await PostgresLedger.open(trap.dsn, algorithm=1)
        try:
            await ledger.save((await start_worker(ledger)).full_checkpoint())
        finally:
            await ledger.close()
        return list(trap.passed)
