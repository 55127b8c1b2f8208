"""A bare aiokafka loop that validates every event and does nothing else.

No state, no database, no billing. Each value is validated by the product's own contract (schemas.events) and
dropped. It runs on uvloop.
"""

from typing import Any

import uvloop
from polling import polled
from pydantic import TypeAdapter
from task import Task

from schemas.events import AlertEvent, ConversationEvent, HandoffEvent


async def main(task: Task) -> None:
    contracts: tuple[Any, ...] = (ConversationEvent, HandoffEvent, AlertEvent)
    validate_of = {
        topic: TypeAdapter(contract).validator.validate_json
        for topic, contract in zip(task.topics, contracts, strict=True)
    }
    async for topic, records in polled(task):
        validate = validate_of[topic]
        for record in records:
            validate(record.value)


if __name__ == "__main__":
    uvloop.run(main(Task.given()))
