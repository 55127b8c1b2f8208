"""Producing dead letters again: mended, with the right key, on the right partition, and kept in the audit.

An event is known by its source and id, so one that is produced twice counts once: whatever fails on the way
may be done again. The audit says who asked before anything is produced, and where it is afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from quarterhour.kafka import security_options
from quarterhour.mending import Clock, Mended, NotMended, mend
from quarterhour.publishing import open_producer, partitions_of_topics
from quarterhour.settings import Settings
from schemas.salvage import REPLAY_HEADER
from schemas.topics import Topic, partition_of
from sinks.dead_letters import DeadLetters, Hand, Letter, LetterId

AT_ONCE = 500


class Replay(NamedTuple):
    """What is to become of a dead letter: it is produced again to a partition, or is `still` no event."""

    letter: Letter
    topic: str | None
    partition: int | None
    mended: Mended | None
    still: str | None
    sent_as: LetterId | None = None


class Replayer:
    """Plans replays, and does them."""

    def __init__(
        self,
        letters: DeadLetters,
        producer: AIOKafkaProducer,
        settings: Settings,
        partitions: Mapping[Topic, int],
    ) -> None:
        self._letters = letters
        self._producer = producer
        self._settings = settings
        self._partitions = partitions

    async def plan(self, ids: Sequence[LetterId], hand: Hand) -> AsyncIterator[list[Replay]]:
        """What would be done, some at a time."""
        for at in range(0, len(ids), AT_ONCE):
            found = await self._letters.letters(ids[at : at + AT_ONCE])
            yield [self._plan_one(letter, hand) for letter in found]

    async def send(self, replays: Sequence[Replay], hand: Hand) -> list[Replay]:
        """Produce those that are events; return all, with where Kafka holds them.

        Raises `Unreachable`, `Refused` and what the producer does.
        """
        good = [replay for replay in replays if replay.mended]
        if not good:
            return list(replays)
        await self._letters.asked_to_replay([replay.letter.id for replay in good], hand)
        async with asyncio.timeout(self._settings.patience_ms / 1000):
            futures = [await self._produce(replay) for replay in good]
            answers = await asyncio.gather(*futures)
        sent = {
            replay.letter.id: LetterId(answer.topic, answer.partition, answer.offset)
            for replay, answer in zip(good, answers, strict=True)
        }
        await self._letters.sent(sent, hand)
        return [replay._replace(sent_as=sent.get(replay.letter.id)) for replay in replays]

    def _plan_one(self, letter: Letter, hand: Hand) -> Replay:
        settings = self._settings
        clock = Clock(time.time_ns() // 1_000_000, settings.max_ahead_ms, settings.max_age_ms)
        try:
            mended = mend(letter.value, hand.change, clock)
        except NotMended as error:
            return Replay(letter, None, None, None, str(error))
        partition = partition_of(mended.key, self._partitions[mended.topic])
        return Replay(letter, settings.topics[mended.topic], partition, mended, None)

    async def _produce(self, replay: Replay) -> asyncio.Future[LetterId]:
        assert replay.mended, "planned to be sent"
        future: asyncio.Future[LetterId] = await self._producer.send(
            replay.topic,
            replay.mended.value,
            key=replay.mended.key,
            partition=replay.partition,
            headers=[(REPLAY_HEADER, replay.letter.first.encode())],
        )
        return future


@asynccontextmanager
async def open_replayer(letters: DeadLetters, settings: Settings) -> AsyncIterator[Replayer]:
    """One that is connected to Kafka; what Kafka refuses or does not answer becomes PartUnreachable."""
    brokers, security = settings.require_kafka_brokers(), security_options(settings)
    async with open_producer(brokers, settings.patience_ms, security) as producer:
        partitions = await partitions_of_topics(producer, settings.topics)
        yield Replayer(letters, producer, settings, partitions)
