"""The verdict on more events than fit into memory: log and ledger are spread over slices by key, on disk.

All events and records of a conversation or delivery lie in one slice, so each slice is judged by itself, two
at a time. What Kafka acknowledged and does not hold is found by digests, spread likewise.
"""

from __future__ import annotations

import asyncio
import marshal
import signal
import struct
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import cramjam

from schemas.topics import Topic
from sessionizer import reference
from sinks.views import read_session_records
from tests.drills.verdict import (
    Logged,
    Place,
    Refused,
    Verdict,
    judge_records,
    judge_totals,
    read_parts,
    sort_out,
)
from tests.drills.watch import session

PROCESSES = 2
SLICE_EVENTS = 150_000
ROWS_A_BLOCK = 500
DIGEST_BYTES = 8
DIGEST_FILES = 16
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Evidence:
    """What is judged, and the folder in which it is spread."""

    brokers: str
    dsn: str
    topics: dict[Topic, str]
    counts: Mapping[str, int]
    rules: list[reference.Rules]
    folder: Path
    slices: int


@dataclass
class SliceVerdict:
    """What one slice showed, and what it adds to the totals."""

    verdict: Verdict
    outcomes: Counter[str]
    dead_letters: dict[Place, Refused]


async def judge_in_slices(
    brokers: str,
    dsn: str,
    topics: dict[Topic, str],
    counts: Mapping[str, int],
    rules: list[reference.Rules],
    folder: Path,
    events: int,
) -> Verdict:
    """Do what `verdict.judge` does and look for records that are lost; `events` may be a guess."""
    for path in (*folder.glob("log-*"), *folder.glob("records-*"), *folder.glob("digests-logged-*")):
        path.unlink()  # of a try that failed
    evidence = Evidence(brokers, dsn, topics, counts, rules, folder, max(2, events // SLICE_EVENTS))
    ignoring = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), **ignoring) as pool:
        loop = asyncio.get_running_loop()

        async def each(work: Any, arguments: Iterable[Any]) -> list[Any]:
            jobs = [loop.run_in_executor(pool, work, evidence, argument) for argument in arguments]
            return await asyncio.gather(*jobs)

        await asyncio.gather(each(_spread_log, range(PROCESSES)), each(_spread_records, [None]))
        judged = await each(_judge_slice, range(evidence.slices))
        lost = sum(await each(_lost, range(DIGEST_FILES)))
    total, outcomes, dead_letters = Verdict(), Counter[str](), dict[Place, Refused]()
    for one in judged:
        total.add(one.verdict)
        outcomes.update(one.outcomes)
        dead_letters.update(one.dead_letters)
    if lost:
        total.wrong += lost
        total.differences.append(f"Kafka has lost {lost} acknowledged records")
    await judge_totals(dsn, outcomes, dead_letters, total)
    return total


class Digests:
    """Appends the digests of lines to files: those of equal lines to the same one."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._waiting: dict[int, bytearray] = defaultdict(bytearray)

    def add(self, lines: Iterable[bytes]) -> None:
        """Note lines."""
        for line in lines:
            digest = blake2b(line, digest_size=DIGEST_BYTES).digest()
            self._waiting[digest[0] % DIGEST_FILES] += digest

    def flush(self) -> None:
        """Write what was noted."""
        for number, digests in self._waiting.items():
            with digest_file(self._folder, self._name, number).open("ab") as file:
                file.write(digests)
        self._waiting.clear()


def digest_file(folder: Path, name: str, number: int) -> Path:
    """Where digests lie."""
    return folder / f"digests-{name}-{number}"


class Spread:
    """Appends rows to the files of their slices, packed."""

    def __init__(self, evidence: Evidence, name: str) -> None:
        self._evidence = evidence
        self._name = name
        self._waiting: dict[int, list[Any]] = defaultdict(list)

    def add(self, key: bytes | None, row: Any) -> None:
        """Add a row to its key's slice."""
        number = crc32(key or b"") % self._evidence.slices
        rows = self._waiting[number]
        rows.append(row)
        if len(rows) >= ROWS_A_BLOCK:
            self._write(number)

    def flush(self) -> None:
        """Write what waits."""
        for number in list(self._waiting):
            self._write(number)

    def _write(self, number: int) -> None:
        block = bytes(cramjam.lz4.compress_block(marshal.dumps(self._waiting.pop(number))))
        with (self._evidence.folder / f"{self._name}-{number}").open("ab") as file:
            file.write(LENGTH.pack(len(block)) + block)


def rows_of(evidence: Evidence, kind: str, number: int) -> Iterator[Any]:
    """The rows of a slice, whoever spread them."""
    for path in sorted(evidence.folder.glob(f"{kind}-*-{number}")):
        with path.open("rb") as file:
            while head := file.read(LENGTH.size):
                yield from marshal.loads(bytes(cramjam.lz4.decompress_block(file.read(*LENGTH.unpack(head)))))


def _spread_log(evidence: Evidence, share: int) -> None:
    asyncio.run(_spread_share_of_log(evidence, share))


async def _spread_share_of_log(evidence: Evidence, share: int) -> None:
    spread, digests = Spread(evidence, f"log-{share}"), Digests(evidence.folder, f"logged-{share}")
    names: Collection[str] = list(evidence.topics.values())
    async for part in read_parts(evidence.brokers, names, share, PROCESSES):
        for record in part:
            spread.add(record.key, tuple(record))
        digests.add(record.value for record in part if record.value is not None)
        digests.flush()
    spread.flush()


def _spread_records(evidence: Evidence, _: None) -> None:
    asyncio.run(_spread_all_records(evidence))


async def _spread_all_records(evidence: Evidence) -> None:
    spread = Spread(evidence, "records-0")
    for account_id in await _accounts(evidence.dsn):  # all at once take the server long to sort
        async for record in read_session_records(evidence.dsn, account_id=account_id):
            subject = record.get("conversation_id") or record.get("delivery_id")
            key = f"{record['account_id']}|{record['bot_id']}|{subject}".encode()
            spread.add(key, dict(record))
    spread.flush()


async def _accounts(dsn: str) -> list[str]:
    async with session(dsn) as connection:
        rows = await connection.fetch("select distinct account_id from billing.session_records")
    return [account_id for (account_id,) in rows]


def _judge_slice(evidence: Evidence, number: int) -> SliceVerdict:
    log = [Logged(*row) for row in rows_of(evidence, "log", number)]
    verdict = Verdict(events=len(log))
    events, dead_letters = sort_out(log, evidence.topics, evidence.counts)
    judge_records(rows_of(evidence, "records", number), events, verdict, evidence.rules)
    return SliceVerdict(verdict, reference.outcomes(events), dead_letters)


def _lost(evidence: Evidence, number: int) -> int:
    """How many acknowledged lines are not in the log."""
    logged = {
        digest for share in range(PROCESSES) for digest in _digests(evidence, f"logged-{share}", number)
    }
    return len(set(_digests(evidence, "acknowledged", number)) - logged)


def _digests(evidence: Evidence, name: str, number: int) -> array[int]:
    path, digests = digest_file(evidence.folder, name, number), array("Q")
    if path.exists():
        digests.frombytes(path.read_bytes())
    return digests
