"""A relay in front of PostgreSQL that freezes or cuts a connection at a chosen message of the client.

So a test has a worker that freezes in the middle of a statement, a commit whose answer is lost, or a server
that never answers again, all of them real. A `Gate` sees each connection by itself and may hold it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection(NamedTuple):
    """One connection through a relay."""

    client_port: int
    """The client's end of it."""
    server_port: int
    """The port of the client, as the server sees it."""
    drop: Callable[[], object]
    """Close both ends."""


class Gate(Protocol):
    """What stands in one connection; whatever it awaits holds the connection up."""

    async def pass_message(self, message: bytes) -> None:
        """Before a message of the client passes."""

    async def pass_answer(self, answer: bytes) -> None:
        """Before what the server sent passes: any part of its messages."""


class OpenGate:
    """Holds nothing up."""

    async def pass_message(self, message: bytes) -> None:
        """Let it pass."""

    async def pass_answer(self, answer: bytes) -> None:
        """Let it pass."""


@dataclass
class Relay:
    """Passes everything on, until a message of a client is the one to freeze before or to cut after."""

    dsn: str
    freeze_before: Callable[[bytes], bool] = lambda message: False
    cut_after: Callable[[bytes], bool] = lambda message: False
    new_gate: Callable[[Connection], Gate] = lambda connection: OpenGate()
    """Makes the gate of each new connection."""
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection is frozen: nothing passes from its client any more, and it stays open."""
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection is cut: the server did as the last message says, and the client has no answer."""


@asynccontextmanager
async def relay(dsn: str) -> AsyncIterator[Relay]:
    """A relay to the server of this DSN, which must not want TLS; all its connections end with it."""
    server = urlsplit(dsn)
    links: list[asyncio.Task[None]] = []
    listening = await asyncio.start_server(
        lambda *client: links.append(asyncio.create_task(_link(found, client, server.hostname, server.port))),
        host="127.0.0.1",
        port=0,
    )
    login, port = server.netloc.rpartition("@")[0], listening.sockets[0].getsockname()[1]
    found = Relay(urlunsplit(server._replace(netloc=f"{login}@127.0.0.1:{port}", query="sslmode=disable")))
    try:
        yield found
    finally:
        listening.close()
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _link(settings: Relay, client: Stream, host: str | None, port: int | None) -> None:
    server = await asyncio.open_connection(host, port)
    gate = settings.new_gate(_connection(client[1], server[1]))
    answers = asyncio.create_task(_pass_answers(gate, server[0], client[1]))
    try:
        last = await _pass_messages(settings, gate, client[0], server[1])
        answers.cancel()
        await asyncio.wait([answers])
        server[1].write(last)
        await server[0].read(65_536)  # so the server has done it, and nobody else learns of it
        settings.cut.set()
    finally:
        answers.cancel()
        client[1].close()
        server[1].close()


def _connection(client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> Connection:
    link = asyncio.current_task()
    assert link is not None
    return Connection(client.get_extra_info("peername")[1], server.get_extra_info("sockname")[1], link.cancel)


async def _pass_messages(
    settings: Relay, gate: Gate, client: asyncio.StreamReader, server: asyncio.StreamWriter
) -> bytes:
    """Pass on all messages before the one to cut after, and return that."""
    message = await _message(client, head=b"")
    while not settings.cut_after(message):
        if settings.freeze_before(message):
            settings.frozen.set()
            await asyncio.Event().wait()
        await gate.pass_message(message)
        server.write(message)
        await server.drain()
        message = await _message(client, head=await client.readexactly(1))
    return message


async def _pass_answers(gate: Gate, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    while answer := await server.read(65_536):
        await gate.pass_answer(answer)
        client.write(answer)
        await client.drain()
    client.close()


async def _message(client: asyncio.StreamReader, head: bytes) -> bytes:
    """One message: its type (the first of a connection has none), its length, its body."""
    length = await client.readexactly(4)
    return head + length + await client.readexactly(int.from_bytes(length, "big") - 4)
