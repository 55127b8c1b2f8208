"""What a peer written in Python is told, and how it answers the bench. No product code here."""

import json
import sys
from typing import NamedTuple


class Task(NamedTuple):
    """One JSON object, a peer's only argument; each uses what it needs of it."""

    brokers: str
    group: str
    events: int
    dsn: str
    folder: str
    topics: list[str]

    @classmethod
    def given(cls) -> "Task":
        """The task on the command line."""
        return cls(**json.loads(sys.argv[1]))


def tell(word: str) -> None:
    """Say `first` at the first records and `done` when the last one is where it belongs."""
    # Faust turns sys.stdout into a log.
    assert sys.__stdout__ is not None
    print(word, file=sys.__stdout__, flush=True)
