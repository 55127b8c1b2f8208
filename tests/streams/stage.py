"""A stage for real workers: topics, a database and a group of their own, and what to do on it."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from quarterhour.comparing import Comparison, compare
from quarterhour.lines import decode_line
from quarterhour.parts.topics import end_offsets
from quarterhour.publishing import publish
from schemas.decode import Rejected
from schemas.topics import Topic
from sessionizer import reference
from sinks.views import read_session_records

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05
PROGRAM = ("-m", "quarterhour")

Json = dict[str, Any]


async def until(holds: Callable[[], Awaitable[Any]], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until a condition holds and return what it gave; fail when the deadline has passed."""
    deadline = time.monotonic() + seconds
    while not (found := await holds()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(POLL_SECONDS)
    return found


class WorkerProcess:
    """A `quarterhour worker` as an operator runs it."""

    def __init__(
        self,
        name: str,
        environment: Mapping[str, str],
        folder: Path,
        arguments: Iterable[str],
        program: Iterable[str] = PROGRAM,
    ) -> None:
        self.name = name
        self.port = _free_port()
        self._log = folder / f"{name}.log"
        self._output = folder / f"{name}.out"
        command = (sys.executable, *program, "worker", "--format", "ndjson", *arguments)
        with self._log.open("wb") as log, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment, "QUARTERHOUR_WEB_PORT": str(self.port)},
                stdout=output,
                stderr=log,
                process_group=0,  # Ctrl-C is for the run, which stops its workers as it wants
            )

    @property
    def log(self) -> str:
        """Everything it wrote to standard error."""
        return self._log.read_text()

    @property
    def summary(self) -> Json:
        """What it wrote to standard output when it was drained."""
        return json.loads(self._output.read_text())

    @property
    def owners(self) -> set[str]:
        """The owner ids of its claims."""
        return set(re.findall(r"owner ([0-9a-f-]{36})", self.log))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int:
        """Its exit status; the negative number of the signal that ended it."""
        assert self._process.returncode is not None, f"{self.name} runs"
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end and return the exit status."""
        await until(self._has_ended, f"{self.name} ends; its log: {self.log[-2000:]}", seconds)
        return self._process.returncode

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.send(signal.SIGTERM)
        return await self.ended()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    async def ready(self) -> None:
        """Wait until it says that it is."""
        await until(self._is_ready, f"{self.name} is ready; its log: {self.log[-2000:]}")

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages; status 0 if nothing answers."""
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}")

    async def _has_ended(self) -> bool:
        return not self.running

    async def _is_ready(self) -> bool:
        assert self.running, f"{self.name} has ended: {self.log[-2000:]}"
        return (await self.page("/readyz"))[0] == 200


@dataclass
class Stage:
    """One test's topics, database and group."""

    brokers: str
    dsn: str
    topics: dict[Topic, str]
    folder: Path
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4().hex[:12]}")
    published: list[bytes] = field(default_factory=list)
    workers: list[WorkerProcess] = field(default_factory=list)
    program: tuple[str, ...] = PROGRAM
    """What Python runs as `quarterhour`."""

    def environment(self, **settings: str) -> dict[str, str]:
        """What commands find on this stage; settings are named without their prefix, in lower case.

        A name in upper case is any other variable.
        """
        named = {
            "home": str(self.folder / "home"),
            "kafka_brokers": self.brokers,
            "postgres_dsn": self.dsn,
            "group": self.group,
            "session_timeout": "6s",
            "checkpoint_interval": "200ms",
            **{f"topic_{topic.name.lower()}": name for topic, name in self.topics.items()},
            **settings,
        }
        return {
            name if name.isupper() else f"QUARTERHOUR_{name.upper()}": value for name, value in named.items()
        }

    def start(self, *arguments: str, **settings: str) -> WorkerProcess:
        """Start a worker; see `environment` for its settings."""
        environment = self.environment(**settings)
        name = f"worker-{len(self.workers)}"
        worker = WorkerProcess(name, environment, self.folder, arguments, self.program)
        self.workers.append(worker)
        return worker

    async def drain(self, **settings: str) -> Json:
        """Run one worker until all that is published is saved; return its summary."""
        worker = self.start("--until-drained", **settings)
        assert await worker.ended() == 0, worker.log
        return worker.summary

    async def answer(self, *arguments: str, **settings: str) -> tuple[int | None, list[Json], str]:
        """Run a command: its status, rows and messages."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.program, *arguments, "--format", "ndjson"),
            env={**os.environ, **self.environment(**settings)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, messages = await process.communicate()
        return process.returncode, [json.loads(line) for line in output.splitlines()], messages.decode()

    async def publish(self, lines: Iterable[bytes]) -> None:
        """Publish as `quarterhour publish --raw` does, and remember."""
        sent = list(lines)
        self.published += sent
        await publish(sent, self.brokers, self.topics, raw=True)

    async def forget_records(self, ends: Mapping[tuple[str, int], int]) -> None:
        """What retention does: Kafka no longer holds what is before these offsets."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        try:
            await admin.delete_records(
                {TopicPartition(*place): RecordsToDelete(end) for place, end in ends.items()}
            )
        finally:
            await admin.close()

    async def drained(self) -> None:
        """Wait until running workers have saved all that is in Kafka."""
        ends = await end_offsets(self.brokers, list(self.topics.values()))

        async def saved() -> bool:
            rows = await self.query("select topic, partition, next_offset from billing.source_partition")
            found = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            return all(found.get(place, 0) >= end for place, end in ends.items())

        await until(saved, "all that was published is saved")

    async def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Look into the tables, as nobody else may."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def records(self) -> list[Json]:
        """The contract view."""
        return [dict(record) async for record in read_session_records(self.dsn)]

    async def outcomes(self) -> Counter[str]:
        """Records read and saved, by outcome."""
        rows = await self.query(
            "select outcome, sum(records)::int as n from billing.outcome_count group by outcome"
        )
        return Counter({row["outcome"]: row["n"] for row in rows})

    def expected(self) -> tuple[list[Json], Counter[str]]:
        """Records and outcomes of what was published, by the reference model, which knows no absurd dates."""
        events, dead = [], 0
        for line in self.published:
            try:
                events.append(decode_line(line)[0])
            except Rejected:
                dead += 1
        return reference.sessionize(events), +(reference.outcomes(events) + Counter(dead_letter=dead))

    async def compare(self) -> Comparison:
        """The ledger with the reference model; the outcomes must be equal too."""
        records, outcomes = self.expected()
        assert await self.outcomes() == outcomes
        return compare(await self.records(), records)


@asynccontextmanager
async def staged(brokers: str, dsn: str, topics: dict[Topic, str], folder: Path) -> AsyncIterator[Stage]:
    """A stage whose workers end with it."""
    stage = Stage(brokers, dsn, topics, folder)
    try:
        yield stage
    finally:
        for worker in stage.workers:
            worker.kill()


def event(
    kind: str, time_ms: int, conversation: str = "c-1", *, event_id: str | None = None, **data: Any
) -> bytes:
    """One event as a line; `kind` is user, bot, agent, closed, started, ended, delivered or failed."""
    types = {
        "closed": "conversation.closed.v1",
        "started": "handoff.started.v1",
        "ended": "handoff.ended.v1",
        "delivered": "alert.delivered.v1",
        "failed": "alert.failed.v1",
    }
    body = {"account_id": "acme", "bot_id": "sales", "user_id": "u-1", "channel": "web"}
    if kind in ("delivered", "failed"):
        body |= {"alert_id": "a-1", "delivery_id": conversation}
    else:
        body |= {"conversation_id": conversation}
    if kind in ("user", "bot", "agent"):
        body |= {"author": kind}
    if kind in ("started", "ended"):
        body |= {"handoff_id": "h-1"}
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ms // 1000)) + f".{time_ms % 1000:03d}Z"
    envelope = {
        "specversion": "1.0",
        "id": event_id or f"e-{uuid.uuid4().hex}",
        "source": "/test",
        "type": types.get(kind, "conversation.message.v1"),
        "time": moment,
        "data": body | data,
    }
    return json.dumps(envelope).encode()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""
