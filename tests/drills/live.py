"""A live stream, published by a process of its own: each event when it arrives, through any outage.

First come conversations of days gone by, of which some events are held back. Later the stream flows by the
wall clock and brings those late. What Kafka did not take while it was away comes at once when it is back, as
from producers that kept it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from quarterhour.errors import PartUnreachable
from quarterhour.publishing import publish
from quarterhour.traffic import Arrival, live_traffic, traffic
from schemas.topics import Topic
from tests.drills.load import DAY_MS, EARLIER_DAYS, LATE_SHARE
from tests.drills.slices import Digests
from tests.streams.stage import now_ms

PART = 20_000
TICK_SECONDS = 0.5
PATIENCE_MS = 5_000
HELD_BACK_SHARE = 0.1
SPEED = 10
"""People talk so many times as quick as in life: so an hour sees conversations to their end."""
POLL_SECONDS = 0.05
END_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Target:
    """Where the events go, and the folder for what is held back and what was acknowledged."""

    brokers: str
    topics: dict[Topic, str]
    folder: Path

    @property
    def held_back(self) -> Path:
        """The lines that are yet to come late."""
        return self.folder / "held-back"


@dataclass
class Phase:
    """What the publishing process and its parent share."""

    acknowledged: Any
    behind_ms: Any
    ending: Any


class Feed:
    """The publisher as seen from outside: one process a phase."""

    def __init__(self, target: Target, seed: int) -> None:
        self._context = get_context("spawn")
        self._target = target
        self._seeds = iter(range(seed * 1_000, (seed + 1) * 1_000))
        self._phase = self._new_phase()
        self._process: BaseProcess | None = None
        self._acknowledged_before = 0

    @property
    def acknowledged(self) -> int:
        """How many events Kafka has acknowledged."""
        return self._acknowledged_before + self._phase.acknowledged.value

    @property
    def behind_seconds(self) -> float:
        """How long after their arrival events were published last."""
        return self._phase.behind_ms.value / 1000

    async def publish_earlier(self, events: int) -> None:
        """Publish conversations of days gone by, but for what is held back."""
        self._start(_publish_earlier, events)
        await self._ended()

    def flow(self, rate: int, late_share: float = LATE_SHARE) -> None:
        """Let about so many events flow in a second, until the end is asked for."""
        self._start(_publish_live, rate, late_share)

    def check(self) -> None:
        """Raise if the publisher has ended before it was told to."""
        process = self._process
        if process is not None and process.exitcode is not None:
            raise AssertionError(f"the publisher ended with status {process.exitcode}")

    async def end(self) -> None:
        """End the phase once all that it began is acknowledged."""
        if self._process is not None:
            self._phase.ending.set()
            await self._ended()

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.kill()

    def _new_phase(self) -> Phase:
        new = self._context.Value
        return Phase(new("q", 0), new("q", 0), self._context.Event())

    def _start(self, work: Any, *arguments: Any) -> None:
        self._acknowledged_before = self.acknowledged
        self._phase = self._new_phase()
        shared = (self._phase.acknowledged, self._phase.behind_ms, self._phase.ending)
        arguments = (work, self._target, shared, next(self._seeds), *arguments)
        self._process = self._context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    async def _ended(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        deadline = time.monotonic() + END_LIMIT_SECONDS
        while process.is_alive() and (time.monotonic() < deadline or not self._phase.ending.is_set()):
            await asyncio.sleep(POLL_SECONDS)
        if process.exitcode != 0:
            process.kill()
            raise AssertionError(f"the publisher did not end in order: {process.exitcode}")


def _run(work: Any, target: Target, shared: tuple[Any, Any, Any], seed: int, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    asyncio.run(work(_Sender(target, Phase(*shared)), seed, *arguments))


class _Sender:
    """Publishes parts, again and again until they are acknowledged."""

    def __init__(self, target: Target, phase: Phase) -> None:
        self.target = target
        self._phase = phase
        self._digests = Digests(target.folder, "acknowledged")
        self._parent = os.getppid()

    @property
    def ending(self) -> bool:
        """Whether to begin no further part."""
        return self._phase.ending.is_set() or os.getppid() != self._parent

    async def send(self, part: list[bytes], behind_ms: int = 0) -> None:
        """Publish a part."""
        while os.getppid() == self._parent:
            try:
                await publish(
                    part, self.target.brokers, self.target.topics, raw=True, patience_ms=PATIENCE_MS
                )
                break
            except PartUnreachable:
                await asyncio.sleep(POLL_SECONDS)
        self._digests.add(part)
        self._digests.flush()
        self._phase.acknowledged.value += len(part)
        self._phase.behind_ms.value = behind_ms


async def _publish_earlier(sender: _Sender, seed: int, events: int) -> None:
    dice, held_back = random.Random(seed), []
    for days in EARLIER_DAYS:
        lines = traffic(
            max(1, events // len(EARLIER_DAYS)), seed + days, now_ms() - days * DAY_MS, faults=True
        )
        while part := list(islice(lines, PART)):
            late = [dice.random() < HELD_BACK_SHARE for _ in part]
            held_back += [line for line, is_late in zip(part, late, strict=True) if is_late]
            await sender.send([line for line, is_late in zip(part, late, strict=True) if not is_late])
    dice.shuffle(held_back)
    sender.target.held_back.write_bytes(b"\n".join(held_back))


async def _publish_live(sender: _Sender, seed: int, rate: int, late_share: float) -> None:
    late = iter(sender.target.held_back.read_bytes().split(b"\n") if late_share else ())
    arrivals = _Arrivals(live_traffic(rate, seed, now_ms(), speed=SPEED, faults=True))
    owed = 0.0
    while not sender.ending:
        tick = asyncio.get_running_loop().time() + TICK_SECONDS
        moment_ms, part = arrivals.until(now_ms())
        owed += len(part) * late_share
        part += list(islice(late, int(owed)))
        owed -= int(owed)
        if part:
            await sender.send(part, now_ms() - moment_ms)
        await asyncio.sleep(max(0.0, tick - asyncio.get_running_loop().time()))


class _Arrivals:
    """Arrivals in order, taken by the clock."""

    def __init__(self, arrivals: Iterator[Arrival]) -> None:
        self._arrivals = arrivals
        self._next = next(arrivals)

    def until(self, until_ms: int) -> tuple[int, list[bytes]]:
        """At most a part of the lines that have arrived by then, and the last one's moment."""
        lines: list[bytes] = []
        moment_ms = until_ms
        while self._next[0] <= until_ms and len(lines) < PART:
            moment_ms, line = self._next
            lines.append(line)
            self._next = next(self._arrivals)
        return moment_ms, lines
