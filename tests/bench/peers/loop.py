"""A bare aiokafka loop that validates every event and does nothing else.

No state, no database, no billing. Each value is validated by the product's own contract (schemas.events) and
dropped. It runs on uvloop with the client's default settings, but for polls of at most 5,000 records.
"""

from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from pydantic import TypeAdapter
from task import Task, tell

from schemas.events import AlertEvent, ConversationEvent, HandoffEvent

MAX_RECORDS = 5_000


async def main(task: Task) -> None:
    contracts: tuple[Any, ...] = (ConversationEvent, HandoffEvent, AlertEvent)
    validate_of = {
        topic: TypeAdapter(contract).validator.validate_json
        for topic, contract in zip(task.topics, contracts, strict=True)
    }
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
                validate = validate_of[partition.topic]
                for record in records:
                    validate(record.value)
                seen += len(records)
        tell("done")


if __name__ == "__main__":
    uvloop.run(main(Task.given()))
