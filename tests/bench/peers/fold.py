"""A bare aiokafka loop that fetches, parses and folds: what any Python program pays that looks at events.

No validation, no dedup, no database: of each conversation the number of its events and the time of the last,
in a dict. It runs on uvloop.
"""

from typing import Any

import uvloop
from orjson import loads
from polling import polled
from task import Task


async def main(task: Task) -> None:
    folded: dict[bytes, list[Any]] = {}
    async for _, records in polled(task):
        for record in records:
            event = loads(record.value)
            known = folded.get(record.key)
            if known is None:
                folded[record.key] = [1, event["time"]]
                continue
            known[0] += 1
            known[1] = event["time"]


if __name__ == "__main__":
    uvloop.run(main(Task.given()))
