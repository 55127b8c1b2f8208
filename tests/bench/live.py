"""A live stream in a process of its own: every conversation speaks in turn, and every event time is now.

At a rate there are as many open conversations as there would be if each spoke every 30 seconds. One that has
had its 25 messages gives its turn to a new one. Before a rate is asked for, conversations are opened with the
messages that they would have had by then: 0 to 24 of them.

Ten times a second a probe is sent: a conversation of one message whose time is the moment of its publishing,
so that its record tells when that was.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from tests.bench.feeding import Feed, feeding
from tests.bench.synthetic import Message, Traffic, check
from tests.streams.stage import now_ms

SEED = 7
EVENTS_A_CONVERSATION = 25
PACE_MS = 30_000
TICK_SECONDS = 0.05
TICKS_A_PROBE = 2
CHECKED_EVENTS = 2_000_000
"""A guess, which decides how large the sample is that the reference model checks."""


@dataclass(frozen=True)
class Flowed:
    """What flowed: how many events, and how far the publisher was behind the clock at most."""

    events: int
    behind_seconds: float
    publisher_seconds: float


class Live:
    """The stream as seen from outside."""

    def __init__(self, connection: Connection, pid: int, sent: Any) -> None:
        self._connection = connection
        self._sent = sent
        self.pid = pid

    @property
    def sent(self) -> int:
        """How many messages were handed over by now."""
        return int(self._sent.value)

    async def open(self, rate: int) -> None:
        """Open as many conversations as that rate has, unless they are; returns when Kafka has them."""
        await self._ask("open", rate)

    async def flow(self, rate: int, seconds: float) -> Flowed:
        """Let so many messages a second flow for so long."""
        return Flowed(*await self._ask("flow", rate, seconds))

    async def check(self, dsn: str) -> None:
        """Compare the ledger with all that was sent."""
        await self._ask("check", dsn)

    async def _ask(self, *question: Any) -> Any:
        self._connection.send(question)
        answer = await asyncio.to_thread(self._connection.recv)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def living(brokers: str, topic: str) -> AsyncIterator[Live]:
    """A live stream for the length of this block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    sent = context.Value("q", 0)
    process = context.Process(target=_run, args=(brokers, topic, theirs, sent), daemon=True)
    process.start()
    theirs.close()
    assert process.pid
    try:
        yield Live(ours, process.pid, sent)
    finally:
        process.kill()


def _run(brokers: str, topic: str, connection: Connection, sent: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    asyncio.run(_answer(brokers, topic, connection, sent))


async def _answer(brokers: str, topic: str, connection: Connection, sent: Any) -> None:
    async with feeding(brokers, topic) as feed:
        publisher = _Publisher(feed, sent)
        while True:
            name, *arguments = await asyncio.to_thread(connection.recv)
            try:
                answer = await getattr(publisher, name)(*arguments)
            except Exception as error:
                answer = error
            connection.send(answer)


class _Publisher:
    """The stream from inside; each turn belongs to one conversation at a time."""

    def __init__(self, feed: Feed, sent: Any) -> None:
        self._feed = feed
        self._sent = sent
        self._dice = random.Random(SEED)
        self._traffic = Traffic("live", 0, CHECKED_EVENTS)
        self._probes = Traffic("probe", 0, 1)
        self._numbers = array("L")
        """Whose turn it is."""
        self._places = array("B")
        """The place of the next message."""

    async def open(self, rate: int) -> None:
        more = range(len(self._numbers), rate * PACE_MS // 1000)
        await self._send(self._earlier(more))
        await self._feed.acknowledged()

    async def flow(self, rate: int, seconds: float) -> tuple[int, float, float]:
        began, began_ms, used = time.monotonic(), now_ms(), time.process_time()
        sent, total, behind, tick = 0, int(rate * seconds), 0.0, 0
        while sent < total:
            tick += 1
            await asyncio.sleep(max(0.0, began + tick * TICK_SECONDS - time.monotonic()))
            due = min(total, int((time.monotonic() - began) * rate))
            messages = [self._turn(turn, began_ms + turn * 1000 // rate, rate) for turn in range(sent, due)]
            if tick % TICKS_A_PROBE == 0:
                messages.append(self._probe())
            await self._send(messages)
            sent = due
            behind = max(behind, time.monotonic() - began - sent / rate)
        await self._feed.acknowledged()
        return sent, behind, time.process_time() - used

    async def check(self, dsn: str) -> None:
        await check(dsn, self._traffic, self._probes)

    async def _send(self, messages: Any) -> None:
        self._sent.value += await self._feed.send(messages)

    def _earlier(self, turns: range) -> Iterator[Message]:
        """What these conversations have said by now, the oldest first."""
        for _ in turns:
            self._numbers.append(self._new())
            self._places.append(self._dice.randrange(EVENTS_A_CONVERSATION))
        until_ms = now_ms()
        for ago in range(EVENTS_A_CONVERSATION, 0, -1):
            for turn in turns:
                place = self._places[turn] - ago
                if place >= 0:
                    yield self._traffic.message(self._numbers[turn], place, until_ms - ago * PACE_MS)

    def _turn(self, turn: int, time_ms: int, rate: int) -> Message:
        turn %= rate * PACE_MS // 1000
        place = self._places[turn]
        message = self._traffic.message(self._numbers[turn], place, time_ms)
        if place + 1 < EVENTS_A_CONVERSATION:
            self._places[turn] += 1
        else:
            self._places[turn], self._numbers[turn] = 0, self._new()
        return message

    def _new(self) -> int:
        return _next(self._traffic)

    def _probe(self) -> Message:
        return self._probes.message(_next(self._probes), 0, now_ms())


def _next(traffic: Traffic) -> int:
    """The number of a new conversation."""
    traffic.grow(traffic.conversations + 1)
    return traffic.conversations - 1
