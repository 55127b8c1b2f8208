"""Run `quarterhour` with a bug planted in it: `python planted.py BUG worker ...`.

| bug | what it does |
|---|---|
| `processing` | the engine never returns from its first batch |
| `saving` | the engine never returns from its first checkpoint |
| `forgetting` | Faust never again asks for the records of partition 0 of any topic |
| `blocking` | the engine blocks the event loop, which the watchdog bears for one second |
| `overlooking` | the metadata lacks every topic for as long as the file named by OVERLOOK exists |
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mode.loop

mode.loop.use("uvloop")  # as the command does, before Faust is imported

from quarterhour.cli import main  # noqa: E402
from streams.engine import Engine  # noqa: E402
from streams.transport import BatchConsumer  # noqa: E402
from streams.watchdog import Watchdog  # noqa: E402


async def never_return(*_: Any) -> None:
    await asyncio.Event().wait()


async def block(*_: Any) -> None:
    threading.Event().wait()


def plant_processing() -> None:
    Engine.process = never_return


def plant_saving() -> None:
    Engine.checkpoint = never_return


def plant_forgetting() -> None:
    active = BatchConsumer._get_active_partitions
    BatchConsumer._get_active_partitions = lambda self: {tp for tp in active(self) if tp.partition}


def plant_blocking() -> None:
    Engine.process = block
    Watchdog.__init__.__defaults__ = (1.0,)


def plant_overlooking() -> None:
    count, marker = BatchConsumer.partition_count, Path(os.environ["OVERLOOK"])
    BatchConsumer.partition_count = lambda self, topic: None if marker.exists() else count(self, topic)


BUGS: dict[str, Callable[[], None]] = {
    "processing": plant_processing,
    "saving": plant_saving,
    "forgetting": plant_forgetting,
    "blocking": plant_blocking,
    "overlooking": plant_overlooking,
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
