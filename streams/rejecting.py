"""Telling producers of rejected events: each dead letter is published once its checkpoint has committed.

At least once: how far the dead letters of a partition were published is kept in PostgreSQL, so whoever owns
it next publishes the rest, and may repeat some; each is known by the position of its record. This runs beside
the stream and never stops it: while Kafka refuses, dead letters wait in the ledger and it is tried again for
ever, less and less often; a log line says so each time, and a metric for how long.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from schemas.rejected import rejected_event
from sinks.ledger import Rejection, SourcePartition
from sinks.postgres import PostgresLedger

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Of each partition."""
ACKNOWLEDGED_SECONDS = 10.0
CLOSE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class RejectedEvents:
    """The rejected events of one worker's partitions."""

    def __init__(self, ledger: PostgresLedger, connection: Mapping[str, Any], topic: str) -> None:
        """`connection` holds aiokafka's arguments for reaching the brokers."""
        self._ledger = ledger
        self._connection = connection
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None
        self._wanted = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._failing_since: float | None = None

    def wake(self) -> None:
        """Publish what is new, some time soon."""
        self._wanted.set()

    def seconds_failing(self) -> float:
        """For how long nothing could be published; 0 if that is not so."""
        return time.monotonic() - self._failing_since if self._failing_since is not None else 0.0

    async def run(self, owned: Callable[[], Collection[SourcePartition]]) -> None:
        """Publish those of the partitions owned whenever woken, until cancelled."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if await self.publish(owned()):
                pause_seconds = FIRST_PAUSE_SECONDS
            else:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
                self._wanted.set()

    async def publish(self, sources: Collection[SourcePartition]) -> bool:
        """Publish all that was not of these partitions; return whether that went well."""
        async with self._publishing:
            try:
                while rejections := await self._ledger.rejections(sources, AT_ONCE):
                    await self._send(rejections)
            except Exception as error:  # whatever it is, it must not stop the stream
                log.warning("rejected events wait in the ledger: topic %s: %r", self._topic, error)
                self._failing_since = self._failing_since or time.monotonic()
                await self.close()
                return False
            self._failing_since = None
            return True

    async def close(self) -> None:
        """Let go of Kafka."""
        producer, self._producer = self._producer, None
        if producer:
            with suppress(Exception):
                await asyncio.wait_for(producer.stop(), CLOSE_SECONDS)

    async def _send(self, rejections: Collection[Rejection]) -> None:
        async with asyncio.timeout(ACKNOWLEDGED_SECONDS):
            producer = self._producer or await self._open()
            futures = [await producer.send(self._topic, *_record(rejection)) for rejection in rejections]
            await asyncio.gather(*futures)
        # In the order of offsets, so that the last one of a partition counts.
        ends = {rejection.source: rejection.offset + 1 for rejection in rejections}
        await self._ledger.rejections_published(ends)

    async def _open(self) -> AIOKafkaProducer:
        # Not idempotent: such a producer never gives up, and each event is known by its id.
        producer = self._producer = AIOKafkaProducer(
            acks="all", request_timeout_ms=int(ACKNOWLEDGED_SECONDS * 1000), **self._connection
        )
        await producer.start()
        cluster = await producer.client.fetch_all_metadata()
        if not cluster.partitions_for_topic(self._topic):
            raise UnknownTopicOrPartitionError("there is no such topic")
        return producer


def _record(rejection: Rejection) -> tuple[bytes, bytes | None]:
    """Its value, and its key: the account, where that is known."""
    told = rejection._asdict()
    source, recorded_ms = told.pop("source"), told.pop("recorded_ms")
    known = {name: value for name, value in told.items() if value is not None}
    key = None if rejection.account_id is None else rejection.account_id.encode()
    return rejected_event({**source._asdict(), **known}, recorded_ms), key
