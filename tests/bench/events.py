"""The events that contenders read: generated from a fixed seed, published once, and what is true of them."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from quarterhour.parts import Parts
from quarterhour.parts.topics import PARTITIONS, create_topics, delete_topics, end_offsets
from quarterhour.publishing import publish
from quarterhour.traffic import traffic
from schemas.times import DAY_MS, parse_time_ms
from schemas.topics import Topic, key_of
from sessionizer import reference

SEED = 7
IDLE_MS = BLOCK_MS = 900_000


class SimpleSession(NamedTuple):
    """A session by the peers' simpler rule: no gap over 15 minutes; every delivery of a message counts."""

    conversation: str
    started_ms: int
    ended_ms: int
    messages: int
    blocks: int


@dataclass(frozen=True)
class Events:
    """Events in Kafka, of the hours before `until_ms`, which is the last midnight: the same bytes all day."""

    count: int
    until_ms: int
    topics: dict[Topic, str]
    ends: dict[tuple[str, int], int]

    def lines(self) -> Iterator[bytes]:
        """The events as published."""
        return traffic(self.count, SEED, self.until_ms)

    @cached_property
    def subjects(self) -> str:
        """How many conversations and alerts they are of."""
        types_by_key = {key_of(event): event["type"] for event in map(json.loads, self.lines())}
        alerts = sum(name.startswith("alert.") for name in types_by_key.values())
        return f"of {len(types_by_key) - alerts:,} conversations and {alerts:,} alerts"

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The session records of the reference model."""
        return reference.sessionize(map(json.loads, self.lines()))

    @cached_property
    def outcomes(self) -> Counter[str]:
        """The outcome counts of the reference model."""
        return reference.outcomes(map(json.loads, self.lines()))

    @cached_property
    def simple_sessions(self) -> set[SimpleSession]:
        """The sessions of the peers' simpler rule."""
        times_ms: dict[str, list[int]] = defaultdict(list)
        for event in map(json.loads, self.lines()):
            if _is_message(event):
                times_ms[key_of(event).decode()].append(parse_time_ms(event["time"]))
        return {session for key, times in times_ms.items() for session in _simple_sessions(key, times)}


@asynccontextmanager
async def published(parts: Parts, count: int) -> AsyncIterator[Events]:
    """So many events in topics of their own, which are deleted at the end."""
    brokers, tag = parts.kafka.brokers, uuid.uuid4().hex[:8]
    topics = {role: f"bench-{tag}-{role}" for role in PARTITIONS}
    await create_topics(brokers, {topics[role]: partitions for role, partitions in PARTITIONS.items()})
    try:
        until_ms = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS
        await publish(traffic(count, SEED, until_ms), brokers, topics)
        yield Events(count, until_ms, topics, await end_offsets(brokers, topics.values()))
    finally:
        await delete_topics(brokers, topics.values())


def _is_message(event: dict[str, Any]) -> bool:
    data = event["data"]
    if event["type"] != "conversation.message.v1" or data.get("developer"):
        return False
    return bool(data["author"] != "agent")


def _simple_sessions(conversation: str, times_ms: Iterable[int]) -> Iterator[SimpleSession]:
    session: list[int] = []
    for time_ms in sorted(times_ms):
        if session and time_ms - session[-1] > IDLE_MS:
            yield _simple_session(conversation, session)
            session = []
        session.append(time_ms)
    yield _simple_session(conversation, session)


def _simple_session(conversation: str, times_ms: list[int]) -> SimpleSession:
    started_ms, ended_ms = times_ms[0], times_ms[-1]
    blocks = max(1, -((started_ms - ended_ms) // BLOCK_MS))
    return SimpleSession(conversation, started_ms, ended_ms, len(times_ms), blocks)
