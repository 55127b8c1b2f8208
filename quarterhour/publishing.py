"""Publishing of events to Kafka: each to the topic of its type, with its key, on the partition of that key.

Records are packed into batches of our own, a partition at a time, because aiokafka's `send` costs four times
what a record costs here. The producer is idempotent and waits for all replicas; order within a partition is
that of the lines. An event published again is a repeat that no bill shows.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import count, islice
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from quarterhour.errors import PartUnreachable
from quarterhour.lines import decode_line, topic_by_parsing
from schemas.decode import Rejected
from schemas.reasons import Reason
from schemas.topics import Topic, key_of, partition_of

BATCH_BYTES = 1 << 17
LARGEST_RECORD_BYTES = 1_000_000
"""A broker takes batches up to 1 MiB unless it is told otherwise."""
LINES_A_CHUNK = 2_000
IDLE_SECONDS = 0.05
PATIENCE_MS = 60_000
CLOSE_SECONDS = 1.0

Place = tuple[Topic, int]
OnRefused = Callable[[int, Rejected], None]
"""Told of each refused line: its number, from 1, and why."""

_partition_of = lru_cache(maxsize=1 << 16)(partition_of)


@dataclass
class PublishSummary:
    """What became of the lines: records by topic that Kafka has acknowledged, and refused lines by reason."""

    sent: Counter[Topic] = field(default_factory=Counter)
    refused: Counter[Reason] = field(default_factory=Counter)


async def publish(
    lines: Iterable[bytes],
    brokers: str,
    topics: Mapping[Topic, str],
    raw: bool = False,
    *,
    security: Mapping[str, Any] | None = None,
    patience_ms: int = PATIENCE_MS,
    on_refused: OnRefused = lambda _number, _rejected: None,
) -> PublishSummary:
    """Send events, given as lines without line ends; bad ones are refused and the good ones sent.

    `raw` sends bad ones too, routed as well as can be told. Returns when Kafka has acknowledged every record;
    raises PartUnreachable if it acknowledges nothing for `patience_ms`.
    """
    source = iter(lines)
    chunks = iter(lambda: list(islice(source, LINES_A_CHUNK)), [])
    return await publish_chunks(
        chunks, brokers, topics, raw, security=security, patience_ms=patience_ms, on_refused=on_refused
    )


async def publish_chunks(
    chunks: Iterator[list[bytes]],
    brokers: str,
    topics: Mapping[Topic, str],
    raw: bool = False,
    *,
    security: Mapping[str, Any] | None = None,
    patience_ms: int = PATIENCE_MS,
    on_refused: OnRefused = lambda _number, _rejected: None,
) -> PublishSummary:
    """Do what `publish` does, with lines in chunks that are fetched in a thread and may be long in coming."""
    summary = PublishSummary()

    def refuse(number: int, rejected: Rejected) -> None:
        summary.refused[rejected.reason] += 1
        on_refused(number, rejected)

    numbers = count(1)
    async with open_producer(brokers, patience_ms, security or {}) as producer:
        batches = _Batches(producer, topics, await partitions_of_topics(producer, topics), summary.sent)
        while chunk := await _next_chunk(chunks, batches):
            await _pack(zip(chunk, numbers, strict=False), _route_raw if raw else route, batches, refuse)
        await batches.send_all()
        await batches.acknowledged(patience_ms)
    return summary


async def _pack(
    lines: Iterable[tuple[bytes, int]],
    route: Callable[[bytes], tuple[Topic, bytes | None]],
    batches: "_Batches",
    refuse: OnRefused,
) -> None:
    """Pack each line with its number into the batch of its partition; a full one is sent."""
    for line, number in lines:
        try:
            topic, key = route(line)
        except Rejected as rejected:
            refuse(number, rejected)
            continue
        place = batches.place_of(topic, key)
        while not batches.append(place, key, line):
            await batches.send(place)


class _Batches:
    """The open batch of each partition, and those that Kafka has not acknowledged yet."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Mapping[Topic, str],
        partitions: Mapping[Topic, int],
        sent: Counter[Topic],
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._sent = sent
        self._open: dict[Place, Any] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None

    def place_of(self, topic: Topic, key: bytes | None) -> Place:
        """The partition of a key; a record without one goes to the first."""
        return topic, 0 if key is None else _partition_of(key, self._partitions[topic])

    def append(self, place: Place, key: bytes | None, value: bytes) -> bool:
        """Pack a record; False if the batch is full and has to be sent first."""
        batch = self._open.get(place)
        if batch is None:
            batch = self._open[place] = self._producer.create_batch()
        return batch.append(timestamp=None, key=key, value=value) is not None

    async def send(self, place: Place) -> None:
        """Hand the open batch of a partition to the producer, once the one before is on its way."""
        if self._failure:
            raise self._failure
        topic, partition = place
        batch = self._open.pop(place)
        future = await self._producer.send_batch(batch, self._topics[topic], partition=partition)
        self._waiting.add(future)
        future.add_done_callback(partial(self._done, topic, batch.record_count()))

    async def send_all(self) -> None:
        """Hand over every open batch."""
        for place in list(self._open):
            await self.send(place)

    async def acknowledged(self, patience_ms: int) -> None:
        """Wait until Kafka has acknowledged all that was handed over; raises what it answered instead."""
        while self._waiting and not self._failure:
            done, _ = await asyncio.wait(
                self._waiting, timeout=patience_ms / 1000, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise KafkaTimeoutError(f"{len(self._waiting)} batches were not acknowledged")
            await asyncio.sleep(0)  # lets the callbacks of those that are done run
        if self._failure:
            raise self._failure

    def _done(self, topic: Topic, records: int, future: asyncio.Future[Any]) -> None:
        self._waiting.discard(future)
        if future.cancelled() or (error := future.exception()) is None:
            self._sent[topic] += records
        else:
            self._failure = self._failure or error


async def _next_chunk(chunks: Iterator[list[bytes]], batches: _Batches) -> list[bytes]:
    """Fetch the next lines, none at the end; while they are long in coming, what is packed is sent."""
    waiting = asyncio.ensure_future(asyncio.to_thread(next, chunks, []))
    done, _ = await asyncio.wait({waiting}, timeout=IDLE_SECONDS)
    if not done:
        await batches.send_all()
    return await waiting


def route(line: bytes) -> tuple[Topic, bytes]:
    """The topic and key of an event; raises Rejected, also for one too large for a broker."""
    if len(line) > LARGEST_RECORD_BYTES:
        raise Rejected(Reason.TOO_LARGE, "", f"{len(line)} bytes, brokers take {LARGEST_RECORD_BYTES}")
    event, _, topic = decode_line(line)
    return topic, key_of(event)


def _route_raw(line: bytes) -> tuple[Topic, bytes | None]:
    """Where a line belongs if it is good; if it is bad, as far as its type and ids can be told."""
    try:
        return route(line)
    except Rejected as rejected:
        if rejected.reason is Reason.TOO_LARGE:
            raise
        topic = topic_by_parsing(line)
        return topic, _key_by_parsing(line, topic)


def _key_by_parsing(line: bytes, topic: Topic) -> bytes | None:
    """The key that a bad line's ids would make; none if one is missing or cannot be written."""
    subject = "delivery_id" if topic is Topic.ALERT_DELIVERY else "conversation_id"
    try:
        data = json.loads(line)["data"]
        return "|".join(data[name] for name in ("account_id", "bot_id", subject)).encode()
    except (ValueError, RecursionError, TypeError, LookupError):
        return None


@asynccontextmanager
async def open_producer(
    brokers: str, patience_ms: int, security: Mapping[str, Any]
) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer; what Kafka does not answer or refuses becomes PartUnreachable."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers,
        enable_idempotence=True,
        acks="all",
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=patience_ms,
        **security,
    )
    try:
        await producer.start()
        yield producer
    except (KafkaError, OSError, TimeoutError) as error:
        raise PartUnreachable(f"Kafka at {brokers}: {error!r}") from error
    finally:
        await _close(producer)


async def _close(producer: AIOKafkaProducer) -> None:
    """Close a producer; its own `stop` waits for a lost broker without end, since it is idempotent."""
    with suppress(TimeoutError):
        await asyncio.wait_for(producer.stop(), CLOSE_SECONDS)
    await producer.client.close()


async def partitions_of_topics(producer: AIOKafkaProducer, topics: Mapping[Topic, str]) -> dict[Topic, int]:
    """The number of partitions of each topic; raises PartUnreachable for one that does not exist."""
    cluster = await producer.client.fetch_all_metadata()
    found = {topic: len(cluster.partitions_for_topic(name) or ()) for topic, name in topics.items()}
    missing = [topics[topic] for topic, partitions in found.items() if not partitions]
    if missing:
        raise PartUnreachable(f"no such Kafka topic: {', '.join(missing)}", code="missing_topic")
    return found
