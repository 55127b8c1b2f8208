"""The arena of one drill: traffic flows, workers run under supervision, faults strike, all is compared."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.drill import Row
from tests.drills.flow import Flow, flowing
from tests.drills.load import endless
from tests.drills.stand import Stand
from tests.drills.supervisor import Slot, supervised
from tests.drills.verdict import Logged, Verdict, judge, read_log
from tests.drills.watch import AWAY, Place, Watch, local_ports, watching
from tests.streams.stage import Stage, staged, until

RATE = 1_000
"""Events a second, unless a drill needs another."""
RECOVERY_LIMIT_SECONDS = 150.0
DRAIN_LIMIT_SECONDS = 240.0


@dataclass
class Fault:
    """One strike: when it began, and what it bit."""

    began: float = field(default_factory=time.monotonic)
    bites: set[str] = field(default_factory=set)
    owners: dict[Place, str] = field(default_factory=dict)
    ended: float | None = None
    """When all was well again, if that is not the end of the block."""


@dataclass
class Arena:
    """What a drill acts on."""

    stand: Stand
    stage: Stage
    flow: Flow
    watch: Watch
    slots: list[Slot]
    row: Row
    dice: random.Random
    ended: bool = False
    """Whether no worker may go on."""
    log: list[Logged] | None = None
    """The truth, if the drill saw to it; else the log that Kafka holds at the end."""

    async def start_workers(self, how_many: int, **settings: str) -> list[Slot]:
        """Start workers, each in a slot of its own, and wait until they are ready and have caught up."""
        settings = {**self.stand.worker_settings, **settings}
        started = [Slot(self.stage, len(self.slots) + n, settings) for n in range(how_many)]
        self.slots += started
        for slot in started:
            await slot.worker.ready()
        await self.recovered()
        return started

    @asynccontextmanager
    async def fault(self) -> AsyncIterator[Fault]:
        """Strike in this block; after it the recovery is awaited and timed from the block's begin."""
        await self.watch.look()
        fault = Fault(owners=dict(self.watch.owners))
        yield fault
        await self.recovered()
        self.row.recoveries.append((fault.ended or time.monotonic()) - fault.began)
        if any(self.watch.owners[place] != owner for place, owner in fault.owners.items()):
            fault.bites.add("takeover")
        self._count(fault)

    @asynccontextmanager
    async def fatal(self) -> AsyncIterator[Fault]:
        """Strike in this block, in which every worker ends for good; what was saved by then is compared."""
        fault = Fault()
        yield fault
        self.ended = True
        self._count(fault)

    async def look(self, fault: Fault, victim: Slot | None = None, ports: Set[int] = frozenset()) -> None:
        """Note what a fault that has just struck has bitten: a victim's work, or anybody's.

        `ports` are the victim's as the server sees them, where they are not those of its process.
        """
        with suppress(*AWAY):
            found = await self.watch.open_transactions()
            if found & (ports or local_ports(victim.pid)) if victim else found:
                fault.bites.add("open transaction")
            await self.watch.look()
        if await self._is_unsaved(victim):
            fault.bites.add("unsaved offsets")

    async def recovered(self, limit_seconds: float = RECOVERY_LIMIT_SECONDS) -> None:
        """Wait until all that is in Kafka now is saved."""
        ends = await self.watch.ends()

        async def saved() -> bool:
            for slot in self.slots:
                slot.check()
            return self.watch.has_saved(ends)

        await until(saved, "all that was published is saved again", limit_seconds)

    async def pass_time(self, seconds: float) -> None:
        """Let traffic flow for a while, so that the next fault strikes at another moment."""
        await asyncio.sleep(seconds)

    async def stop_workers(self) -> None:
        """SIGTERM to all; each must end in order."""
        for slot in self.slots:
            status = await slot.stop()
            if status and not self.ended:
                self.row.findings.append(f"{slot.worker.name} ended with {status} when asked to stop")
            self.row.exits += slot.exits

    async def conclude(self) -> Verdict:
        """End the traffic, let the workers finish and stop them; compare everything."""
        await self.flow.end()
        if not self.ended:
            await self.recovered(DRAIN_LIMIT_SECONDS)
        await self.stop_workers()
        log = self.log if self.log is not None else await self.read_log()
        self._check_all_published(log)
        if self.ended:
            await self.watch.look()
            log = [record for record in log if record.offset < self.watch.saved.get(record[:2], 0)]
        verdict = await judge(self.stage.dsn, log, self.stand.topics, self.stand.counts)
        self.row.events, self.row.compared, self.row.wrong = verdict.events, verdict.compared, verdict.wrong
        self.row.findings += verdict.differences
        return verdict

    async def read_log(self) -> list[Logged]:
        """All that Kafka holds of the topics now."""
        return await read_log(self.stage.brokers, list(self.stage.topics.values()))

    def _count(self, fault: Fault) -> None:
        self.row.tried += 1
        self.row.bit += bool(fault.bites)
        self.row.bites.update(fault.bites)

    def _check_all_published(self, log: list[Logged]) -> None:
        lost = set(self.flow.acknowledged) - {record.value for record in log}
        if lost:
            self.row.findings.append(f"Kafka has lost {len(lost)} acknowledged records")

    async def _is_unsaved(self, victim: Slot | None) -> bool:
        if victim is None:
            return sum(self.watch.saved.values()) < len(self.flow.acknowledged)
        owned, ends = victim.worker.owners, await self.watch.ends()
        return any(
            self.watch.saved[place] < ends[place]
            for place, owner in self.watch.owners.items()
            if owner in owned
        )


@asynccontextmanager
async def arena(stand: Stand, folder: Path, fault: str, seed: int) -> AsyncIterator[Arena]:
    """An arena whose traffic flows; all that it started ends with it."""
    brokers, topics = stand.brokers, stand.topics
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(staged(brokers, stand.dsn, topics, folder))
        flow = await stack.enter_async_context(flowing(Flow(endless(seed), brokers, topics, RATE)))
        watch = await stack.enter_async_context(watching(Watch(stand.dsn, brokers, list(topics.values()))))
        slots = await stack.enter_async_context(supervised(stage))
        yield Arena(stand, stage, flow, watch, slots, Row(fault), random.Random(seed))
