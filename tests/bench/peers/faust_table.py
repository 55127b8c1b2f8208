"""A stock Faust agent at the peers' job, as Faust's documentation shows it: models, single events, a Table.

The Table keeps a conversation's sessions and is backed by a changelog topic; changed sessions are upserted
every second. All other settings are Faust's defaults (a store in memory), but for the web server, which is
off because its port would be fixed.
"""

from datetime import datetime
from typing import Any

import asyncpg
import faust
from sessions import UPSERT, Row, add, row
from task import Task, tell

PARTITIONS = 8
"""Those of the topic of conversations: a Table is partitioned as its source is."""


class Data(faust.Record, serializer="json"):
    account_id: str
    bot_id: str
    conversation_id: str | None = None
    author: str | None = None
    developer: bool = False


class Event(faust.Record, serializer="json"):
    id: str
    type: str
    time: str
    data: Data

    @property
    def counts(self) -> bool:
        message = self.type == "conversation.message.v1"
        return message and self.data.author != "agent" and not self.data.developer

    @property
    def time_ms(self) -> int:
        return round(datetime.fromisoformat(self.time).timestamp() * 1000)


def make_app(task: Task) -> faust.App:
    app = faust.App(task.group, broker=f"kafka://{task.brokers}", web_enabled=False)
    topic = app.topic(*task.topics, key_type=str, value_type=Event)
    table = app.Table("sessions", default=list, partitions=PARTITIONS)
    upsert = UPSERT.format("$1", "$2", "$3", "$4", "$5", "$6")
    changed: dict[tuple[str, int], Row] = {}
    seen = 0

    @app.agent(topic)
    async def sessionize(stream: Any) -> None:
        nonlocal seen
        async for conversation, event in stream.items():
            if not seen:
                tell("first")
            if event.counts:
                sessions = table[conversation]
                for session in add(sessions, event.time_ms):
                    changed[conversation, session[0]] = row(conversation, session)
                table[conversation] = sessions
            seen += 1

    @app.task
    async def connect() -> None:
        app.connection = await asyncpg.connect(task.dsn)

    @app.timer(interval=1.0)
    async def write() -> None:
        now_seen, rows = seen, list(changed.values())
        changed.clear()
        if rows:
            await app.connection.execute(upsert, *map(list, zip(*rows, strict=True)))
        if now_seen == task.events:
            tell("done")

    return app


if __name__ == "__main__":
    make_app(Task.given()).Worker(loglevel="WARNING").execute_from_commandline()
