"""A bare aiokafka loop that validates every event and does nothing else: the floor of Python.

No state, no database, no billing: what any Python program pays before its work begins. Each value is
validated by the product's own contract (schemas.events) and dropped. It runs on uvloop with the client's
default settings, but for polls of at most 5,000 records.

    loop.py BROKERS GROUP EVENTS CONVERSATION_TOPIC HANDOFF_TOPIC ALERT_TOPIC

Prints `first` when the first records have come and `done` when so many events are validated.
"""

import sys
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from pydantic import TypeAdapter

from schemas.events import AlertEvent, ConversationEvent, HandoffEvent

MAX_RECORDS = 5_000


async def main(brokers: str, group: str, events: str, *topics: str) -> None:
    contracts: tuple[Any, ...] = (ConversationEvent, HandoffEvent, AlertEvent)
    validate_of = {
        topic: TypeAdapter(contract).validator.validate_json
        for topic, contract in zip(topics, contracts, strict=True)
    }
    seen = 0
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=brokers, group_id=group, auto_offset_reset="earliest"
    )
    async with consumer:
        while seen < int(events):
            fetched = await consumer.getmany(timeout_ms=1000, max_records=MAX_RECORDS)
            if fetched and not seen:
                print("first", flush=True)
            for partition, records in fetched.items():
                validate = validate_of[partition.topic]
                for record in records:
                    validate(record.value)
                seen += len(records)
        print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
