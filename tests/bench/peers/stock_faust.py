"""A stock Faust agent at the same job, as lean as Faust allows.

Raw bytes validated by the product's own contract, plain dict state by conversation (no Table: it costs three
times as much, and `take` with a Table crashes), `take(1000, within=1)`, one upsert of columns a batch. All
other settings are Faust's defaults, but for the web server, which is off because its port would be fixed.

It does less than Quarterhour. The job is: conversations cut into sessions where nobody wrote for more than
15 minutes, events out of order included, and for each session its messages and its blocks of 15 minutes. It
counts duplicates, leaves no human-agent time out (handoffs, closes and alerts are validated and passed over),
and keeps its state in memory only, so what a crash leaves behind is wrong.

    stock_faust.py BROKERS APP_ID EVENTS DSN TOPIC...

Prints `first` when the agent has its first batch and `done` when so many events are in PostgreSQL.
"""

import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import asyncpg
import faust
from pydantic import Field, TypeAdapter

from schemas.events import Event
from schemas.times import parse_time_ms
from schemas.topics import key_of

IDLE_MS = BLOCK_MS = 900_000
TABLE = """
create table session (
  conversation text, number int, started_ms bigint, ended_ms bigint, messages int, blocks int,
  primary key (conversation, number)
)"""
UPSERT = """
insert into session
select * from unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::int[], $6::int[])
on conflict (conversation, number) do update
set started_ms = excluded.started_ms, ended_ms = excluded.ended_ms, messages = excluded.messages,
    blocks = excluded.blocks
"""

validate = TypeAdapter(Annotated[Event, Field(discriminator="type")]).validator.validate_json


@dataclass(slots=True)
class Session:
    """One session; of two that a late event made one, the later is left with no messages."""

    number: int
    started_ms: int
    ended_ms: int
    messages: int = 0

    def takes(self, time_ms: int) -> bool:
        return self.messages > 0 and self.started_ms - IDLE_MS <= time_ms <= self.ended_ms + IDLE_MS

    def add(self, started_ms: int, ended_ms: int, messages: int) -> None:
        self.started_ms = min(self.started_ms, started_ms)
        self.ended_ms = max(self.ended_ms, ended_ms)
        self.messages += messages

    @property
    def blocks(self) -> int:
        return max(1, -((self.started_ms - self.ended_ms) // BLOCK_MS))


@dataclass(slots=True)
class Sessions:
    """The sessions of every conversation, and those that a batch changed."""

    by_conversation: dict[str, list[Session]] = field(default_factory=dict)
    changed: dict[tuple[str, int], Session] = field(default_factory=dict)

    def add(self, value: bytes) -> None:
        """Take in one event."""
        event = validate(value)
        data = event["data"]
        if event["type"] != "conversation.message.v1" or data["author"] == "agent" or data["developer"]:
            return
        self._add_message(key_of(event).decode(), parse_time_ms(event["time"]))

    def _add_message(self, conversation: str, time_ms: int) -> None:
        sessions = self.by_conversation.setdefault(conversation, [])
        found = [session for session in sessions if session.takes(time_ms)]
        if not found:
            found = [Session(len(sessions), time_ms, time_ms)]
            sessions += found
        for absorbed in found[1:]:
            found[0].add(absorbed.started_ms, absorbed.ended_ms, absorbed.messages)
            absorbed.messages = 0
        found[0].add(time_ms, time_ms, 1)
        for session in found:
            self.changed[conversation, session.number] = session

    def take_rows(self) -> list[tuple[Any, ...]]:
        """The rows of the sessions changed since the last call."""
        changed, self.changed = self.changed, {}
        return [
            (*key, session.started_ms, session.ended_ms, session.messages, session.blocks)
            for key, session in changed.items()
        ]


def make_app(brokers: str, app_id: str, events: int, dsn: str, topics: list[str]) -> faust.App:
    app = faust.App(app_id, broker=f"kafka://{brokers}", web_enabled=False)
    topic = app.topic(*topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(topic)
    async def sessionize(stream: Any) -> None:
        sessions, seen = Sessions(), 0
        connection = await asyncpg.connect(dsn)
        await connection.execute(TABLE)
        async for values in stream.take(1000, within=1):
            if not seen:
                tell("first")
            for value in values:
                sessions.add(value)
            if rows := sessions.take_rows():
                await connection.execute(UPSERT, *map(list, zip(*rows, strict=True)))
            seen += len(values)
            if seen == events:
                tell("done")

    return app


def tell(word: str) -> None:
    # Faust turns sys.stdout into a log.
    assert sys.__stdout__ is not None
    print(word, file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    brokers, app_id, events, dsn, *topics = sys.argv[1:]
    make_app(brokers, app_id, int(events), dsn, topics).Worker(loglevel="WARNING").execute_from_commandline()
