"""A producer that publishes a drill's traffic at a rate, and tries again until Kafka has acknowledged it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice

from quarterhour.errors import PartUnreachable
from quarterhour.publishing import publish
from schemas.topics import Topic

PART = 100
PATIENCE_MS = 5_000


class Flow:
    """Traffic on its way to Kafka; what trying again brought twice is in the log, and so in the truth."""

    def __init__(self, lines: Iterator[bytes], brokers: str, topics: Mapping[Topic, str], rate: int) -> None:
        self._lines = lines
        self._brokers = brokers
        self._topics = topics
        self._rate = rate
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self.acknowledged: list[bytes] = []
        """The lines that Kafka has acknowledged, in this order."""

    async def run(self) -> None:
        """Publish until told to end."""
        try:
            await self._run()
        finally:
            self._ended.set()

    async def end(self) -> None:
        """Publish no further part; returns when Kafka has acknowledged all that was begun."""
        self._ending.set()
        await self._ended.wait()

    async def publish(self, part: list[bytes]) -> None:
        """Publish lines; returns when Kafka has acknowledged them."""
        while True:
            try:
                await publish(part, self._brokers, self._topics, raw=True, patience_ms=PATIENCE_MS)
            except PartUnreachable:
                continue  # it took its patience to find out
            return

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._ending.is_set():
            part = list(islice(self._lines, PART))
            await self.publish(part)
            self.acknowledged += part
            # After an outage the rate goes on as before it: no burst.
            due = max(due + len(part) / self._rate, loop.time())
            await self._rest_until(due)

    async def _rest_until(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._ending.wait()
        except TimeoutError:
            pass


@asynccontextmanager
async def flowing(flow: Flow) -> AsyncIterator[Flow]:
    """The flow runs in this block; at its end all that was begun is acknowledged."""
    running = asyncio.create_task(flow.run())
    try:
        yield flow
        await flow.end()
        await running
    finally:
        running.cancel()
