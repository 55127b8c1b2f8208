"""Bytewax at the peers' job: event-time session windows, one worker, up to the ends of the topics.

`to_system_utc` gives None: by default windows are closed by the system's time, and with events of the past
every conversation is due at every step. Its state is saved every 2 s: it needs that to survive a crash.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import psycopg
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, SessionWindower
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from orjson import loads
from sessions import IDLE_MS, UPSERT, Row, Session, row
from task import Task, tell

IDLE = timedelta(milliseconds=IDLE_MS)
DISORDER = timedelta(minutes=45)
"""Displaced copies come up to 40 minutes late."""
SNAPSHOTS = timedelta(seconds=2)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

Message = tuple[str, datetime]


class Reader:
    """Parses records; says when the first one has come."""

    def __init__(self) -> None:
        self._began = False

    def read(self, record: KafkaSourceMessage) -> Message | None:
        """A message that sessions are made of, by its conversation; None for any other event."""
        if not self._began:
            self._began = True
            tell("first")
        event = loads(record.value)
        data = event["data"]
        if event["type"] != "conversation.message.v1" or data["author"] == "agent" or data.get("developer"):
            return None
        return record.key.decode(), datetime.fromisoformat(event["time"])


class Table(DynamicSink[list[Row]]):
    """The table of sessions."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> "Writer":
        return Writer(self._dsn)


class Writer(StatelessSinkPartition[list[Row]]):
    """One worker's connection to it."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._upsert = UPSERT.format("%s", "%s", "%s", "%s", "%s", "%s")

    def write_batch(self, items: list[list[Row]]) -> None:
        for rows in items:
            self._connection.execute(self._upsert, [list(column) for column in zip(*rows, strict=True)])

    def close(self) -> None:
        self._connection.close()


def fold(session: Session, time: datetime) -> Session:
    """Take in a message; a session is opened_ms, started_ms, ended_ms and messages."""
    time_ms = (time - EPOCH) // MILLISECOND
    return merge(session, [time_ms, time_ms, time_ms, 1]) if session else [time_ms, time_ms, time_ms, 1]


def merge(one: Session, other: Session) -> Session:
    """The session that two make; it is closed once, so its start may name it."""
    started_ms = min(one[1], other[1])
    return [started_ms, started_ms, max(one[2], other[2]), one[3] + other[3]]


def flow(task: Task) -> Dataflow:
    dataflow = Dataflow("sessions")
    source: Any = KafkaSource(task.brokers.split(","), task.topics, tail=False, batch_size=1_000)
    records = op.input("records", dataflow, source)
    messages = op.filter_map("messages", records, Reader().read)
    # A window's key is the conversation, its value the time: (conversation, time) is what it takes.
    clock = EventClock(lambda time: time, DISORDER, to_system_utc=lambda _: None)
    windows = win.fold_window(
        "windows", messages, clock, SessionWindower(IDLE), list, fold, merge, ordered=False
    )
    rows = op.map("rows", windows.down, lambda found: ("", row(found[0], found[1][1])))
    batches = op.collect("batches", rows, timedelta(seconds=1), 1_000)
    op.output("table", op.map("values", batches, lambda batch: batch[1]), Table(task.dsn))
    return dataflow


if __name__ == "__main__":
    task = Task.given()
    if not list(Path(task.folder).iterdir()):
        init_db_dir(Path(task.folder), 1)
    cli_main(flow(task), epoch_interval=SNAPSHOTS, recovery_config=RecoveryConfig(task.folder))
    tell("done")
