"""The way to the ledger: delays, lost requests, lost answers, outages; the ledger itself never fails.

A request that is under way arrives, whatever has become of who sent it: also that of a dead worker, of one
that is frozen, of one that has long since called again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from sinks.ledger import (
    Checkpoint,
    Fenced,
    Horizon,
    Ledger,
    NamedConversation,
    Position,
    RecordChange,
    SealRow,
    SourcePartition,
    StoredAlert,
    StoredConversation,
    Unreachable,
)

CALL_TIMEOUT_SECONDS = 1.0
USUAL_DELAY_SECONDS = 0.005
LONG_DELAY_SECONDS = 0.8


@dataclass
class Network:
    """How calls fare at the moment, and what became of them."""

    dice: Random
    note: Callable[[str], None]
    loss: float = 0.0
    """How likely a request is to be lost, and an answer."""
    slow_seconds: float = USUAL_DELAY_SECONDS
    is_down: bool = False
    long_share: float = 0.0
    """How many take long at any time: checkpoints commit while look-ups and claims are under way."""

    def __post_init__(self) -> None:
        self.context = Context()
        self.happened: Counter[str] = Counter()

    def delay_seconds(self) -> float:
        """Most are quick; when the network is slow, some outlive their caller's patience."""
        chance = self.dice.random()
        if chance < self.long_share:
            return self.dice.random() * LONG_DELAY_SECONDS
        return self.dice.random() * (USUAL_DELAY_SECONDS if chance < 0.5 else self.slow_seconds)

    def loses(self) -> bool:
        return self.dice.random() < self.loss

    def heal(self) -> None:
        """From now on all arrives."""
        self.loss, self.slow_seconds, self.is_down = 0.0, USUAL_DELAY_SECONDS, False


class Connection:
    """A worker's `Ledger`: another one at the other end of the network."""

    def __init__(self, name: str, ledger: Ledger, network: Network) -> None:
        self._name = name
        self._ledger = ledger
        self._network = network

    async def claim(
        self, owner: UUID, earliest: Mapping[SourcePartition, int]
    ) -> dict[SourcePartition, Position]:
        """See `Ledger.claim`."""
        found: dict[SourcePartition, Position]
        found = await self._call("claim", lambda: self._ledger.claim(owner, earliest))
        return found

    async def look_up_conversations(self, keys: Sequence[bytes]) -> dict[bytes, StoredConversation]:
        """See `Ledger.look_up_conversations`."""
        found: dict[bytes, StoredConversation]
        found = await self._call("look-up", lambda: self._ledger.look_up_conversations(keys))
        return found

    async def look_up_alerts(self, session_ids: Sequence[bytes]) -> dict[bytes, StoredAlert]:
        """See `Ledger.look_up_alerts`."""
        found: dict[bytes, StoredAlert]
        found = await self._call("look-up", lambda: self._ledger.look_up_alerts(session_ids))
        return found

    async def recompute_requests(self, shards: Sequence[int], most: int) -> list[NamedConversation]:
        """See `Ledger.recompute_requests`."""
        found: list[NamedConversation]
        found = await self._call("look-up", lambda: self._ledger.recompute_requests(shards, most))
        return found

    async def sealed_through_ms(self) -> int:
        """See `Ledger.sealed_through_ms`."""
        through_ms: int = await self._call("look-up", self._ledger.sealed_through_ms)
        return through_ms

    async def sealable(self, horizons: Sequence[Horizon], most: int) -> list[NamedConversation]:
        """See `Ledger.sealable`."""
        found: list[NamedConversation]
        found = await self._call("look-up", lambda: self._ledger.sealable(horizons, most))
        return found

    async def seal(self, owner: UUID, sources: Sequence[SourcePartition], rows: Sequence[SealRow]) -> None:
        """See `Ledger.seal`."""
        await self._call("seal", lambda: self._ledger.seal(owner, sources, rows))

    async def save(self, checkpoint: Checkpoint) -> Counter[RecordChange]:
        """See `Ledger.save`."""
        changes: Counter[RecordChange] = await self._call("save", lambda: self._ledger.save(checkpoint))
        return changes

    async def _call(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        network, loop = self._network, asyncio.get_running_loop()
        answer = loop.create_future()
        if network.loses():
            network.happened["lost requests"] += 1
        else:
            delay = network.delay_seconds()
            loop.call_later(delay, self._arrive, name, work, answer, context=network.context)
        cut = loop.call_later(CALL_TIMEOUT_SECONDS, _give_up, answer, name)
        try:
            return await answer
        finally:
            cut.cancel()

    def _arrive(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]], answer: Any) -> None:
        """The request is at the ledger, which does it at once and answers."""
        network, loop = self._network, asyncio.get_running_loop()
        act: Callable[..., None]
        if network.is_down:
            network.happened["refused calls"] += 1
            act, result = _fail, Unreachable("the ledger is down")
        else:
            act, result = self._do(name, work)
        if network.loses():
            network.happened["lost answers"] += 1
            network.note(f"{self._name}: the answer of {name} is lost")
        else:
            loop.call_later(network.delay_seconds(), act, answer, result, context=network.context)

    def _do(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        try:
            result = at_once(work())
        except Fenced as error:
            self._network.happened["fenced saves"] += 1
            self._network.note(f"{self._name}: {name} is fenced")
            return _fail, error
        self._network.note(f"{self._name}: {name} is done")
        return _succeed, result


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that awaits nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the ledger in memory awaits nothing")


def _succeed(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _give_up(answer: asyncio.Future[Any], name: str) -> None:
    _fail(answer, Unreachable(f"no answer to {name}"))
