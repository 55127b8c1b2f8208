"""A bare aiokafka loop that fetches, parses and folds: what any Python program pays that looks at events.

No validation, no dedup, no database: of each conversation the number of its events and the times of the
earliest and the latest, in a dict. It runs on uvloop with the client's default settings, but for polls of at
most 5,000 records.
"""

import uvloop
from aiokafka import AIOKafkaConsumer
from orjson import loads
from task import Task, tell

MAX_RECORDS = 5_000


async def main(task: Task) -> None:
    folded: dict[bytes, tuple[int, str, str]] = {}
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
                    time = loads(record.value)["time"]
                    count, earliest, latest = folded.get(record.key, (0, time, time))
                    folded[record.key] = count + 1, min(earliest, time), max(latest, time)
                seen += len(records)
        tell("done")


if __name__ == "__main__":
    uvloop.run(main(Task.given()))
