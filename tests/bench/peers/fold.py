"""A bare aiokafka loop that fetches, parses and folds: what any Python program pays that looks at events.

No validation, no dedup, no database: of each conversation the number of its events and the time of the last,
in a dict. It runs on uvloop with the client's default settings, but for polls of at most 5,000 records.
"""

from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from orjson import loads
from task import Task, tell

MAX_RECORDS = 5_000


async def main(task: Task) -> None:
    folded: dict[bytes, list[Any]] = {}
    seen = 0
    consumer = AIOKafkaConsumer(
        *task.topics, bootstrap_servers=task.brokers, group_id=task.group, auto_offset_reset="earliest"
    )
    async with consumer:
        while seen < task.events:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            if fetched and not seen:
                tell("first")
            for records in fetched.values():
                for record in records:
                    event = loads(record.value)
                    known = folded.get(record.key)
                    if known is None:
                        folded[record.key] = [1, event["time"]]
                        continue
                    known[0] += 1
                    known[1] = event["time"]
                seen += len(records)
        tell("done")


if __name__ == "__main__":
    uvloop.run(main(Task.given()))
