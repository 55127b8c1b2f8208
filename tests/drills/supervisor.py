"""Workers as an operator has them: each in a slot that starts it again when it ends."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.exits import Exit
from tests.streams.stage import PATIENCE_SECONDS, Stage, WorkerProcess, until

RESTARTED = {-signal.SIGKILL, Exit.OUT_OF_PATIENCE, Exit.FENCED}
"""Statuses that a fault may bring about: the worker is started again. Any other is a finding."""
POLL_SECONDS = 0.02
RESTART_SECONDS = 0.3


class Slot:
    """One worker's place: the process that runs in it now, and how those before ended."""

    def __init__(self, stage: Stage, number: int, settings: dict[str, str]) -> None:
        self._stage = stage
        self._number = number
        self.settings = settings
        self._stopping = False
        self._last_status: int | None = None
        self.exits: Counter[int] = Counter()
        self.worker: WorkerProcess = self._start()
        self._minding = self._start_minding()

    @property
    def pid(self) -> int:
        """The process id of its worker."""
        return self.worker.pid

    def kill(self) -> None:
        """`kill -9`; the supervisor starts another."""
        self.worker.send(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: the process stands still, in whatever it was doing."""
        self.worker.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.worker.send(signal.SIGCONT)

    async def restarted(self, before: WorkerProcess) -> None:
        """Wait until another worker than this one is ready here."""
        await until(lambda: self._is_another(before), f"another worker than {before.name} runs")
        await self.ready()

    async def ready(self) -> None:
        """Wait until the worker that runs here then is ready."""
        await until(self._is_ready, f"slot {self._number} is ready")

    async def restart(self) -> int:
        """SIGTERM, the exit status, and another worker, which is ready."""
        status = await self.stop()
        await self.start_again()
        return status

    async def start_again(self) -> None:
        """Start a worker where none is any more, and wait until it is ready."""
        self._stopping = False
        self._last_status = None
        self.worker = self._start()
        self._minding = self._start_minding()
        await self.ready()

    def expect(self, status: int) -> None:
        """Nobody is started again after a worker that ends with this status, which is what should happen."""
        self._last_status = status

    async def ended(self) -> WorkerProcess:
        """Wait for the end that is expected, and return the worker that ended so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.shield(self._minding)
        return self.worker

    async def stop(self) -> int:
        """SIGTERM, and the exit status; nobody is started again."""
        self._stopping = True
        self.worker.send(signal.SIGTERM)
        await self._minding
        return self.worker.status

    def let_go(self) -> None:
        """End minding, whatever the worker does."""
        self._minding.cancel()

    def check(self) -> None:
        """Raise what the minding found: an exit status that no fault explains."""
        if self._minding.done() and not self._minding.cancelled():
            self._minding.result()

    def _start(self) -> WorkerProcess:
        return self._stage.start(**self.settings)

    def _start_minding(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._mind(), name=f"slot {self._number}")

    async def _is_ready(self) -> bool:
        self.check()
        return self.worker.running and (await self.worker.page("/readyz"))[0] == 200

    async def _is_another(self, before: WorkerProcess) -> bool:
        self.check()
        return self.worker is not before

    async def _mind(self) -> None:
        while True:
            while self.worker.running:
                await asyncio.sleep(POLL_SECONDS)
            if self._stopping:
                return
            status = self.worker.status
            self.exits[status] += 1
            if status == self._last_status:
                return
            assert status in RESTARTED, f"{self.worker.name} ended with {status}: {self.worker.log[-2000:]}"
            await asyncio.sleep(RESTART_SECONDS)
            if self._stopping:
                return
            self.worker = self._start()


@asynccontextmanager
async def supervised(stage: Stage) -> AsyncIterator[list[Slot]]:
    """An empty list for slots, which end with the block."""
    slots: list[Slot] = []
    try:
        yield slots
    finally:
        for slot in slots:
            slot.let_go()
