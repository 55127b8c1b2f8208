"""A stock Faust agent at the peers' job, as lean as Faust allows.

Raw bytes validated by the product's own contract, plain dict state by conversation (no Table: it costs three
times as much), `take(1000, within=1)`, one upsert of columns a batch. All other settings are Faust's
defaults, but for the web server, which is off because its port would be fixed.

Its state is in memory only, so what a crash leaves behind is wrong.
"""

from collections import defaultdict
from typing import Annotated, Any

import asyncpg
import faust
from pydantic import Field, TypeAdapter
from sessions import UPSERT, Row, Session, add, row
from task import Task, tell

from schemas.events import Event
from schemas.times import parse_time_ms
from schemas.topics import key_of

validate = TypeAdapter(Annotated[Event, Field(discriminator="type")]).validator.validate_json


class Sessions:
    """The sessions of every conversation, and the rows that a batch changed."""

    def __init__(self) -> None:
        self._by_conversation: dict[str, list[Session]] = defaultdict(list)
        self._changed: dict[tuple[str, int], Row] = {}

    def add(self, value: bytes) -> None:
        """Take in one event."""
        event = validate(value)
        data = event["data"]
        if event["type"] != "conversation.message.v1" or data["author"] == "agent" or data["developer"]:
            return
        conversation = key_of(event).decode()
        for session in add(self._by_conversation[conversation], parse_time_ms(event["time"])):
            self._changed[conversation, session[0]] = row(conversation, session)

    def take_rows(self) -> list[Row]:
        """The rows of the sessions changed since the last call."""
        changed, self._changed = self._changed, {}
        return list(changed.values())


def make_app(task: Task) -> faust.App:
    app = faust.App(task.group, broker=f"kafka://{task.brokers}", web_enabled=False)
    topic = app.topic(
        *task.topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )
    upsert = UPSERT.format("$1", "$2", "$3", "$4", "$5", "$6")

    @app.agent(topic)
    async def sessionize(stream: Any) -> None:
        sessions, seen = Sessions(), 0
        connection = await asyncpg.connect(task.dsn)
        async for values in stream.take(1000, within=1):
            if not seen:
                tell("first")
            for value in values:
                sessions.add(value)
            if rows := sessions.take_rows():
                await connection.execute(upsert, *map(list, zip(*rows, strict=True)))
            seen += len(values)
            if seen == task.events:
                tell("done")

    return app


if __name__ == "__main__":
    make_app(Task.given()).Worker(loglevel="WARNING").execute_from_commandline()
