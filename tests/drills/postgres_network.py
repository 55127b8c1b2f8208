"""Drills on the way between workers and PostgreSQL: cut, late, reset, silent, at random or where it hurts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from quarterhour.parts import Parts
from tests.drills.arena import Arena, Fault
from tests.drills.drill import Drill
from tests.drills.link import Link, linked
from tests.drills.postgres import UP_TO_SECONDS, nobody_ended
from tests.drills.stand import Stand, on_local_parts
from tests.sinks.relay import Relay, relay
from tests.streams.stage import until

ANSWERED = (b"Q", b"H", b"S")
"""The messages that the server answers: query, flush, sync."""
STATEMENTS = range(1, 13)
"""A checkpoint has more statements than that."""
CUT_LIMIT_SECONDS = 30.0
LATE_SECONDS = 3.0
SILENT_SECONDS = 6.5
"""Longer than a transaction may stand idle."""


@dataclass(frozen=True)
class Way:
    """From the workers through the link, then through the relay, to the server."""

    link: Link
    relay: Relay


class Once:
    """Whether a message is the first of those looked for."""

    def __init__(self, wanted: Callable[[bytes], bool]) -> None:
        self._wanted = wanted
        self._found = False

    def __call__(self, message: bytes) -> bool:
        self._found, before = self._found or self._wanted(message), self._found
        return self._found and not before


class InTransaction:
    """Whether a message is that statement of a transaction, counted on each connection by itself."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._statements: dict[object, int] = {}

    def __call__(self, message: bytes) -> bool:
        connection = asyncio.current_task()
        if is_query(message, b"BEGIN"):
            self._statements[connection] = 0
        elif is_query(message, b"COMMIT"):
            self._statements.pop(connection, None)
        elif connection in self._statements and message[:1] in ANSWERED:
            self._statements[connection] += 1
            return self._statements[connection] == self._number
        return False


async def connections_cut_in_transaction(arena: Arena, tries: int) -> None:
    """By turns one connection is cut after a statement of a transaction, and all are reset at random."""
    way: Way = arena.stand.more
    await arena.start_workers(2)
    statements = cycle(STATEMENTS)
    for number in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            if number % 2:
                await arena.look(fault)
                way.link.reset()
            else:
                await cut(way.relay, InTransaction(next(statements)))
                fault.bites.add("cut in mid-transaction")
    nobody_ended(arena)


async def commit_answer_lost(arena: Arena, tries: int) -> None:
    """A connection is cut when the server has done a commit and before its worker hears of it."""
    way: Way = arena.stand.more
    await arena.start_workers(2)
    for _ in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await cut(way.relay, lambda message: is_query(message, b"COMMIT"))
            fault.bites.add("answer lost")
    nobody_ended(arena)


async def bad_network(arena: Arena, tries: int) -> None:
    """Everything is late and is reset meanwhile; or nothing passes, for a while or for ever."""
    link: Link = arena.stand.more.link
    await arena.start_workers(2)
    for strike in islice(cycle((_late, _silent, _late, _silent, _abandoned)), tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await strike(arena, link, fault)
            link.mend()
    nobody_ended(arena)


async def cut(relay: Relay, wanted: Callable[[bytes], bool]) -> None:
    """Cut one connection after the next message that is wanted."""
    relay.cut.clear()
    relay.cut_after = Once(wanted)
    async with asyncio.timeout(CUT_LIMIT_SECONDS):
        await relay.cut.wait()


async def not_ready(arena: Arena, fault: Fault) -> None:
    """Wait until a worker's ready page says that it is not; that is a bite."""

    async def says_so() -> bool:
        for slot in arena.slots:
            slot.check()
        return any([(await slot.worker.page("/readyz"))[0] == 503 for slot in arena.slots])

    await until(says_so, "a worker is not ready", CUT_LIMIT_SECONDS)
    fault.bites.add("not ready")


def is_query(message: bytes, text: bytes) -> bool:
    """Whether a client's message is a simple query with this text."""
    return message[:1] == b"Q" and text in message


async def _late(arena: Arena, link: Link, fault: Fault) -> None:
    link.slow(arena.dice.uniform(0.05, 0.2))
    for _ in range(2):
        await arena.pass_time(arena.dice.uniform(0, LATE_SECONDS))
        await arena.look(fault)
        link.reset()
    await arena.pass_time(LATE_SECONDS)


async def _silent(arena: Arena, link: Link, fault: Fault) -> None:
    await arena.look(fault)
    link.silence()
    await not_ready(arena, fault)
    await arena.pass_time(SILENT_SECONDS)


async def _abandoned(arena: Arena, link: Link, fault: Fault) -> None:
    """Old connections answer nothing any more: the worker's own limit on a call must end them."""
    link.abandon()
    await not_ready(arena, fault)


@asynccontextmanager
async def on_a_way(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """The run's parts; the workers' way to PostgreSQL can be made bad."""
    async with on_local_parts(parts, folder) as stand, relay(stand.dsn) as behind:
        server = urlsplit(behind.dsn)
        assert server.hostname and server.port
        async with linked(server.hostname, server.port) as link:
            login = server.netloc.rpartition("@")[0]
            dsn = urlunsplit(server._replace(netloc=f"{login}@127.0.0.1:{link.port}"))
            yield replace(stand, worker_settings={"postgres_dsn": dsn}, more=Way(link, behind))


DRILLS = (
    Drill(
        "connections to PostgreSQL cut in mid-transaction",
        connections_cut_in_transaction,
        tries=24,
        short_tries=2,
        stand=on_a_way,
    ),
    Drill("answer of a commit lost", commit_answer_lost, tries=24, short_tries=2, stand=on_a_way),
    Drill(
        "network to PostgreSQL late, reset, half-open", bad_network, tries=10, short_tries=2, stand=on_a_way
    ),
)
