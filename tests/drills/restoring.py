"""Drills on a backup of PostgreSQL: restored, the ledger is where it was then, and Kafka has gone on."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from quarterhour.parts.postgres import Postgres, installed_folder
from streams.exits import Exit
from tests.drills.arena import Arena, Fault
from tests.drills.drill import Drill
from tests.drills.postgres import UP_TO_SECONDS, on_own_server
from tests.drills.verdict import Logged
from tests.drills.watch import AWAY, Place
from tests.streams.stage import until

KEPT_SECONDS = (2.0, 5.0)
"""How old a backup is when it is restored."""
WAY_ON = "quarterhour positions --take-over"

Positions = Mapping[Place, int]


async def backup_restored(arena: Arena, tries: int) -> None:
    """A base backup taken while workers save is restored some seconds later: they go back and read again."""
    await arena.start_workers(2)
    for _ in range(tries):
        backup = await _backed_up(arena)
        async with arena.fault() as fault:
            before = await _stopped(arena)
            await _restored(arena, fault, backup, before)


async def backup_restored_beyond_retention(arena: Arena, tries: int) -> None:
    """Kafka no longer holds what the restored ledger has to read next: refused, until an operator decides."""
    slots = await arena.start_workers(2)
    read: list[Logged] = []
    for _ in range(tries):
        backup = await _backed_up(arena)
        for slot in slots:
            slot.expect(Exit.REFUSED)
        async with arena.fault() as fault:
            before = await _stopped(arena)
            forgotten = await _forget_before(arena, before)
            after = await _restored(arena, fault, backup, before)
            for slot in slots:
                assert WAY_ON in (await slot.ended()).log, f"{slot.worker.name} tells no way on"
            lost = [record for record in forgotten if record.offset >= after[record[:2]]]
            read += [record for record in forgotten if record.offset < after[record[:2]]]
            await arena.flow.publish([record.value for record in lost])
            await take_over(arena)
            for slot in slots:
                await slot.start_again()
    await arena.flow.end()
    await arena.recovered()
    arena.log = read + await arena.read_log()


async def _backed_up(arena: Arena) -> Path:
    """Let traffic flow, take a base backup in the middle of it, and let it grow old."""
    await arena.pass_time(arena.dice.uniform(0, UP_TO_SECONDS))
    backup = await asyncio.to_thread(_back_up, arena.stand.parts.postgres)
    await arena.pass_time(arena.dice.uniform(*KEPT_SECONDS))
    return backup


async def _stopped(arena: Arena) -> Positions:
    """Stop the server; return where the ledger stood."""
    await asyncio.to_thread(arena.stand.parts.postgres.stop, "immediate")
    return dict(arena.watch.saved)


async def _restored(arena: Arena, fault: Fault, backup: Path, before: Positions) -> Positions:
    """Put a backup in the place of the server's data; the bite is that positions have moved back."""
    server = arena.stand.parts.postgres
    await asyncio.to_thread(_put_back, server, backup)
    await asyncio.to_thread(server.start)
    after = await _positions(arena)
    if any(after[place] < offset for place, offset in before.items()):
        fault.bites.add("positions moved back")
    return after


def _back_up(server: Postgres) -> Path:
    """A base backup of a server that runs, and the log that makes it whole."""
    backup = server.folder / "backup"
    program = installed_folder() / "bin" / "pg_basebackup"
    command = (program, "--pgdata", backup, "--checkpoint=fast", "--dbname", server.dsn("postgres"))
    subprocess.run(command, check=True, capture_output=True)
    return backup


def _put_back(server: Postgres, backup: Path) -> None:
    """Replace the data of a server that does not run."""
    data, owner = server.folder / "data", server.folder.stat()
    shutil.rmtree(data)
    backup.rename(data)
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


async def _positions(arena: Arena) -> Positions:
    """Where the ledger stands, as soon as it answers."""

    async def found() -> Positions | None:
        with suppress(*AWAY):
            await arena.watch.look()
            return dict(arena.watch.saved)
        return None

    return await until(found, "the ledger answers")


async def _forget_before(arena: Arena, ends: Positions) -> list[Logged]:
    """Let Kafka forget all before these offsets; return what it has forgotten."""
    gone = [record for record in await arena.read_log() if record.offset < ends[record[:2]]]
    await arena.stage.forget_records(ends)
    return gone


async def take_over(arena: Arena) -> None:
    """Go on with Kafka's logs as they are, as an operator does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterhour", "positions", "--take-over", "--yes"),
        env={**os.environ, **arena.stage.environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


DRILLS = (
    Drill("backup of PostgreSQL restored", backup_restored, tries=8, stand=on_own_server),
    Drill(
        "backup restored, Kafka's retention is over: refused, taken over",
        backup_restored_beyond_retention,
        tries=4,
        stand=on_own_server,
    ),
)
