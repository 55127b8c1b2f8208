"""What the bare aiokafka loops share: polls of at most 5,000 records, all else the client's defaults."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord
from task import Task, tell

MAX_RECORDS = 5_000


async def polled(task: Task) -> AsyncIterator[tuple[str, list[ConsumerRecord]]]:
    """All records of the task, in lists of one topic each, with its name."""
    seen = 0
    consumer = AIOKafkaConsumer(
        *task.topics, bootstrap_servers=task.brokers, group_id=task.group, auto_offset_reset="earliest"
    )
    async with consumer:
        while seen < task.events:
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            if fetched and not seen:
                tell("first")
            for partition, records in fetched.items():
                yield partition.topic, records
                seen += len(records)
        tell("done")
