"""`quarterhour worker` with its stages timed; `tests.bench.stages` runs it and reads what it writes.

The CPU time of a thread while a stage runs is that stage's, but for the time of stages within it. Times are
written, as JSON, to the file that the variable BENCH_STAGES names when the worker has stopped.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streams.conversations
import streams.engine
import streams.reading
import streams.transport
import streams.worker
from quarterhour.cli import main
from sinks.postgres import PostgresLedger

STAGES: dict[str, list[tuple[Any, str]]] = {
    "decode and validate": [(streams.reading, "decode_many")],
    "read times": [(streams.reading, "parse_times_ms")],
    "hash identities": [(streams.reading, "digests_of")],
    "check, group, pack facts": [(streams.reading.Reader, "read")],
    "look up conversations": [
        (streams.engine.Engine, "_look_up"),
        (streams.conversations.ConversationShard, "unknown"),
    ],
    "merge facts": [
        (streams.conversations, "by_conversation"),
        (streams.conversations.ConversationShard, "merge"),
    ],
    "bill": [(streams.conversations, "bill_many"), (streams.conversations, "bill")],
    "make records and chunks": [(streams.conversations.ConversationShard, "take")],
    "forget what has settled": [(streams.conversations.ConversationShard, "forget_settled")],
    "save: PostgreSQL's client": [(PostgresLedger, "save")],
}

spent: dict[str, float] = defaultdict(float)
_running = threading.local()


class _Step:
    """A stage runs within this block, which may be a part of it."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._outer, _running.inner = getattr(_running, "inner", 0.0), 0.0
        self._begun = time.thread_time()

    def __exit__(self, *_: object) -> None:
        whole = time.thread_time() - self._begun
        spent[self._stage] += whole - _running.inner
        _running.inner = self._outer + whole


class _Steps:
    """An awaitable whose every step is a step of a stage."""

    def __init__(self, stage: str, awaited: Any) -> None:
        self._stage = stage
        self._steps = awaited.__await__()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        with _Step(self._stage):
            return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        with _Step(self._stage):
            return self._steps.throw(*error)

    def close(self) -> None:
        self._steps.close()


def _timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        with _Step(stage):
            result = function(*arguments, **named)
        return _Steps(stage, result) if hasattr(result, "__await__") else result

    return run


def _time_all() -> None:
    for stage, places in STAGES.items():
        for owner, name in places:
            setattr(owner, name, _timed(stage, getattr(owner, name)))
    fetch = streams.transport.BatchConsumerThread._fetch_records
    process = streams.engine.Engine.process
    end = streams.worker.StreamWorker.end_checkpoints
    consumer: list[float] = []
    whole: list[float] = []

    async def fetching(self: Any, *arguments: Any, **named: Any) -> Any:
        fetched = await fetch(self, *arguments, **named)
        if fetched:
            consumer[1:] = [time.thread_time()]
        elif not whole:
            consumer[:] = [time.thread_time()]  # before the first record
        return fetched

    async def processing(self: Any, batch: Any) -> None:
        whole.append(time.process_time())
        await process(self, batch)
        whole[1:] = [time.process_time()]

    def ending(self: Any) -> None:
        end(self)
        spent["fetch: sockets, checksums, record objects"] = consumer[-1] - consumer[0]
        spent["all"] = whole[-1] - whole[0]
        Path(os.environ["BENCH_STAGES"]).write_text(json.dumps(spent))

    streams.transport.BatchConsumerThread._fetch_records = fetching  # type: ignore[method-assign]
    streams.engine.Engine.process = processing  # type: ignore[method-assign]
    streams.worker.StreamWorker.end_checkpoints = ending  # type: ignore[method-assign]


if __name__ == "__main__":
    _time_all()
    sys.argv[0] = "quarterhour"
    main()
