"""A process under measurement: started, heard, and read from /proc. Knows nothing of what it runs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_SECONDS = 60.0
RUN_LIMIT_SECONDS = 900.0
STOP_LIMIT_SECONDS = 60.0
LOG_LINES = 15
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class BenchFailed(Exception):
    """A contender did not do its job; the message says which and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: when that was, user and system seconds of all threads, peak memory."""

    at: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True, slots=True)
class Interval:
    """What a process used up to its first record, and from there to its end."""

    spawned_at: float
    first: Usage
    end: Usage


class Contestant:
    """A running process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.spawned_at = time.monotonic()
        self._process = process
        self._log = log

    def usage(self) -> Usage:
        """What it has used by now; raises `BenchFailed` if it has ended."""
        try:
            return _usage_of(self._process.pid)
        except (OSError, KeyError):  # nothing there, or a dead process that has no memory any more
            raise self.failed("has ended before its time") from None

    async def hear(self, word: str, limit_seconds: float) -> Usage:
        """Wait until it prints this line."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_seconds):
                while line := await self._process.stdout.readline():
                    if line.decode().strip() == word:
                        return self.usage()
        except TimeoutError:
            raise self.failed(f"did not print `{word}` within {limit_seconds:.0f} s") from None
        raise self.failed(f"ended before it printed `{word}`")

    async def ended(self) -> None:
        """Wait until it ends by itself; raises `BenchFailed` unless its status is 0."""
        try:
            await asyncio.wait_for(self._process.communicate(), STOP_LIMIT_SECONDS)
        except TimeoutError:
            raise self.failed(f"did not end within {STOP_LIMIT_SECONDS:.0f} s") from None
        if self._process.returncode:
            raise self.failed(f"ended with status {self._process.returncode}")

    async def kill(self, after_seconds: float) -> None:
        """Kill it so much later with SIGKILL; raises `BenchFailed` if it has ended by then."""
        await asyncio.sleep(after_seconds)
        self.usage()
        self._process.kill()
        await self._process.wait()

    def failed(self, what: str) -> BenchFailed:
        """An error that shows the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return BenchFailed("\n".join([f"{self._log.stem} {what}; the end of its log:", *lines]))


@asynccontextmanager
async def started(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Contestant]:
    """Run a program in a folder, with its log there; it is killed at the end if it still runs."""
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=file, cwd=folder, env=environment
        )
    try:
        yield Contestant(process, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _usage_of(pid: int) -> Usage:
    folder = Path("/proc") / str(pid)
    # The second field is the program's name in brackets and may hold anything.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    peak_kib = int(status["VmHWM"].split()[0])
    return Usage(time.monotonic(), ticks / _TICKS_A_SECOND, peak_kib / 1024)
