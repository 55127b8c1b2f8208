"""Messages to Kafka as fast as Python packs them: made to measure, so neither validated nor routed.

Within a transaction nothing is readable before its end. So a worker that waits finds a backlog of any size in
one moment, and what it uses from there on is what the backlog costs.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.bench.synthetic import Message

BATCH_BYTES = 1 << 17
TRANSACTION_LIMIT_MS = 600_000


class Feed:
    """A producer for one topic."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._waiting: list[asyncio.Future[Any]] = []

    async def send(self, messages: Iterable[Message]) -> int:
        """Hand messages over, each partition's in order; how many there were."""
        open_batches: dict[int, Any] = {}
        sent = 0
        for partition, key, value in messages:
            sent += 1
            batch = open_batches.get(partition)
            if batch is None or batch.append(timestamp=None, key=key, value=value) is None:
                if batch is not None:
                    await self._send(batch, partition)
                batch = open_batches[partition] = self._producer.create_batch()
                batch.append(timestamp=None, key=key, value=value)
        for partition, batch in open_batches.items():
            await self._send(batch, partition)
        return sent

    async def acknowledged(self) -> None:
        """Wait until Kafka has all that was handed over."""
        await asyncio.gather(*self._waiting)
        self._waiting.clear()

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """What is sent in this block is readable from its end on."""
        return self._producer.transaction()

    async def _send(self, batch: Any, partition: int) -> None:
        self._waiting.append(await self._producer.send_batch(batch, self._topic, partition=partition))


@asynccontextmanager
async def feeding(brokers: str, topic: str, **options: Any) -> AsyncIterator[Feed]:
    """A feed for the length of this block; at its end Kafka has all of it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers, enable_idempotence=True, max_batch_size=BATCH_BYTES, **options
    )
    await producer.start()
    try:
        feed = Feed(producer, topic)
        yield feed
        await feed.acknowledged()
    finally:
        await producer.stop()


@asynccontextmanager
async def held_back(brokers: str, topic: str, messages: Iterable[Message]) -> AsyncIterator[int]:
    """Publish messages that nobody can read before the end of this block; gives their number."""
    options = {"transactional_id": f"bench-{uuid.uuid4()}", "transaction_timeout_ms": TRANSACTION_LIMIT_MS}
    async with feeding(brokers, topic, **options) as feed, feed.transaction():
        sent = await feed.send(messages)
        await feed.acknowledged()
        yield sent
