"""Drills on the PostgreSQL server: stopped, killed, its disk full, its connections exhausted."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import cycle
from pathlib import Path

import asyncpg

from quarterhour.parts import Parts
from tests.drills.arena import Arena, Fault
from tests.drills.drill import Drill
from tests.drills.stand import Stand, fresh_database, fresh_topics
from tests.drills.watch import session
from tests.reaper import ending_with_this_run
from tests.streams.stage import until

UP_TO_SECONDS = 2.0
DOWN_SECONDS = 1.0
LACK_SECONDS = 2.0
BITE_LIMIT_SECONDS = 30.0

# Larger than a segment of the log, so that a limit on files as large as this table hits tables only; its rows
# leave no room in a page, so that the next one makes the table grow.
FILL_TABLE = """
insert into billing.fact_chunk
  select gen_random_uuid(), n, decode(repeat('00', 1976), 'hex'), '' from generate_series(1, 10000) n
"""
END_WORKERS = """
select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'quarterhour-worker'
"""


async def postgres_stopped(arena: Arena, tries: int) -> None:
    """The server is stopped in a hurry or killed, and started again after a second."""
    server = arena.stand.parts.postgres
    await arena.start_workers(2)
    ends: Iterator[Callable[[], None]] = cycle((lambda: server.stop("immediate"), server.kill))
    for _ in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            await arena.look(fault)
            await asyncio.to_thread(next(ends))
            await waiting(arena, fault)
            await arena.pass_time(DOWN_SECONDS)
            await asyncio.to_thread(server.start)
    nobody_ended(arena)


async def disk_full(arena: Arena, tries: int) -> None:
    """Files may not grow: those of tables, or also those of the log, where the server stops by itself."""
    server, data = arena.stand.parts.postgres, arena.stand.parts.postgres.folder / "data"
    async with session(arena.stand.dsn) as connection:
        await connection.execute(FILL_TABLE)
        await connection.execute("checkpoint")
    await arena.start_workers(2)
    for number in range(tries):
        limit_bytes = 0 if number % 2 else _largest_bytes(data / "base")
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault:
            with files_limited(server.pid, limit_bytes):
                await waiting(arena, fault)
                await arena.pass_time(LACK_SECONDS)
            await asyncio.to_thread(server.start)
    nobody_ended(arena)


async def connections_exhausted(arena: Arena, tries: int) -> None:
    """Strangers hold every connection that the server has, then the workers' end."""
    await arena.start_workers(2)
    for _ in range(tries):
        await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
        async with arena.fault() as fault, _every_connection(arena.stand.dsn):
            await waiting(arena, fault)
            await arena.pass_time(LACK_SECONDS)
    nobody_ended(arena)


async def waiting(arena: Arena, fault: Fault) -> None:
    """Wait until a worker's ready page says that it waits for PostgreSQL; that is a bite."""

    async def says_so() -> list[str]:
        for slot in arena.slots:
            slot.check()
        pages = [await slot.worker.page("/readyz") for slot in arena.slots]
        return [text for status, text in pages if status == 503 and "waiting for PostgreSQL" in text]

    await until(says_so, "a worker waits for PostgreSQL", BITE_LIMIT_SECONDS)
    fault.bites.add("wait")


def nobody_ended(arena: Arena) -> None:
    """Note it as wrong if a worker ended: these faults it has to sit out."""
    for slot in arena.slots:
        slot.check()
        if slot.exits:
            arena.row.findings.append(f"{slot.worker.name} or one before it ended: {dict(slot.exits)}")


@asynccontextmanager
async def on_own_server(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """The run's broker, and a server of the drill's own that may be broken at will."""
    home = folder / "server"
    home.mkdir()
    own = Parts(home)
    with ending_with_this_run(home):
        await asyncio.to_thread(own.postgres.start)
        async with fresh_topics(parts.kafka.brokers) as topics, fresh_database(own) as dsn:
            yield Stand(own, parts.kafka.brokers, dsn, topics)


@contextmanager
def files_limited(postmaster: int, limit_bytes: int) -> Iterator[None]:
    """No process of the server, nor any that it starts, can write a file beyond this size."""
    try:
        _limit_files(postmaster, str(limit_bytes))
        yield
    finally:
        with suppress(FileNotFoundError):  # it has stopped
            _limit_files(postmaster, "unlimited")


def _limit_files(postmaster: int, limit: str) -> None:
    """The server's first process comes first: those that it starts from then on inherit its limit."""
    _limit(postmaster, limit)
    for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
        _limit(int(child), limit)


def _limit(pid: int, limit: str) -> None:
    """Set a process's soft limit, as the account that it runs as: even root may not do it to another's."""
    with suppress(FileNotFoundError):  # it has ended
        account = Path(f"/proc/{pid}").stat()
        command = ("prlimit", f"--pid={pid}", f"--fsize={limit}:")
        subprocess.run(command, user=account.st_uid, group=account.st_gid, extra_groups=[])


def _largest_bytes(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@asynccontextmanager
async def _every_connection(dsn: str) -> AsyncIterator[None]:
    """Hold all connections that the server has, those for superusers too; none is left to a worker."""
    held = []
    try:
        while True:
            try:
                held.append(await asyncpg.connect(dsn, timeout=5))
            except asyncpg.TooManyConnectionsError:
                if not await held[0].fetch(END_WORKERS):
                    break
        yield
    finally:
        for connection in held:
            connection.terminate()


DRILLS = (
    Drill("PostgreSQL stopped `immediate` or killed, started again", postgres_stopped, tries=12),
    Drill(
        "disk full: PostgreSQL's files cannot grow", disk_full, tries=6, short_tries=2, stand=on_own_server
    ),
    Drill("every connection of PostgreSQL taken", connections_exhausted, tries=5, stand=on_own_server),
)
