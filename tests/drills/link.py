"""A network between a worker and a server, as bad as a drill wants it: late, cut, silent, or reset.

It knows no protocol. `tests.sinks.relay` is the one that knows PostgreSQL's messages.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 1 << 16
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """Passes every byte on, both ways, until it is told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._delay_seconds = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passed: dict[asyncio.Event, int] = {}  # bytes of each connection, by what must be set to pass
        self.port = 0
        """Where it listens, on this machine."""

    @property
    def ports(self) -> set[int]:
        """The client ports of its connections, as the server sees them."""
        names = [writer.get_extra_info("sockname") for writer in self._writers]
        return {name[1] for name in names if name} - {self.port}

    def slow(self, seconds: float) -> None:
        """Each piece of data takes so long from now on."""
        self._delay_seconds = seconds

    def silence(self) -> None:
        """Half-open: connections stay, also new ones are taken, and nothing passes any more."""
        self._open.clear()

    def abandon(self) -> None:
        """Half-open for good: the connections that there are stay, and nothing passes on them ever again."""
        for opened in self._passed:
            opened.clear()

    def abandon_busiest(self) -> None:
        """Half-open for good, but only the connection that most bytes have passed on."""
        max(self._passed, key=self._passed.__getitem__).clear()

    def cut(self) -> None:
        """Reset every connection and take no new one."""
        self._refusing = True
        self.reset()

    def mend(self) -> None:
        """A good network again; what was held back by a silence passes now."""
        self._refusing = False
        self._delay_seconds = 0.0
        self._open.set()

    def reset(self) -> None:
        """Break every connection with a reset; new ones are taken."""
        for writer in self._writers:
            _close_with_reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _close_with_reset(writer)
            return
        try:
            server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            _close_with_reset(writer)  # as the system of a server that has ended does
            return
        self._writers |= {writer, server[1]}
        opened = asyncio.Event()
        opened.set()
        self._passed[opened] = 0
        ways = (self._pass(reader, server[1], opened), self._pass(server[0], writer, opened))
        self._tasks |= {asyncio.create_task(way) for way in ways}

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, opened: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                await self._open.wait()
                await opened.wait()
                self._passed[opened] += len(data)
                target.write(data)
                await target.drain()
        target.close()
        self._writers.discard(target)
        self._passed.pop(opened, None)


@asynccontextmanager
async def linked(host: str, port: int, listen_port: int = 0) -> AsyncIterator[Link]:
    """A link to a server, on a port of its own or the one wanted; its connections end with the block."""
    link = Link(host, port)
    server = await asyncio.start_server(link._accept, "127.0.0.1", listen_port)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        for task in link._tasks:
            task.cancel()
        link.reset()


def _close_with_reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()
