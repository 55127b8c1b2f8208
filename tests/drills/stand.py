"""What a drill stands on: Kafka, PostgreSQL, a database and topics of its own."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quarterhour.database import migrate_all
from quarterhour.parts import PartFailed, PartMissing, Parts
from quarterhour.parts.topics import PARTITIONS, create_topics, delete_topics
from schemas.topics import Topic
from tests.reaper import ending_with_this_run


@dataclass(frozen=True)
class Stand:
    """Where all of it is; the way of the workers to it may be another (`worker_settings`)."""

    parts: Parts
    brokers: str
    dsn: str
    topics: dict[Topic, str]
    worker_settings: Mapping[str, str] = field(default_factory=dict)
    more: Any = None
    """What a stand of another kind has beside that."""

    @property
    def counts(self) -> dict[str, int]:
        """The number of partitions of each topic."""
        return {name: PARTITIONS[role] for role, name in self.topics.items()}


@contextmanager
def parts_of_this_run(name: str) -> Iterator[tuple[Parts, Path]]:
    """Parts for the command of a drill, and a folder to work in; both end with it.

    Where a part is missing or does not start, the process ends as our commands do.
    """
    with TemporaryDirectory(prefix=f"quarterhour-{name}-") as folder:
        parts = Parts(Path(folder) / "home")
        with ending_with_this_run(Path(folder) / "home"):
            try:
                parts.up()
            except (PartMissing, PartFailed) as error:
                print(f"{error.code}: {error}", file=sys.stderr)
                sys.exit(error.exit_status)
            yield parts, Path(folder)


@asynccontextmanager
async def on_local_parts(parts: Parts, folder: Path) -> AsyncIterator[Stand]:
    """One broker and one server, those of the run."""
    async with fresh_topics(parts.kafka.brokers) as topics, fresh_database(parts) as dsn:
        yield Stand(parts, parts.kafka.brokers, dsn, topics)


@asynccontextmanager
async def fresh_topics(brokers: str) -> AsyncIterator[dict[Topic, str]]:
    """Topics of all three roles; deleted at the end."""
    topics = {role: f"{role}-{uuid.uuid4().hex[:12]}" for role in Topic}
    await create_topics(brokers, {topics[role]: count for role, count in PARTITIONS.items()})
    yield topics
    await delete_topics(brokers, list(topics.values()))


@asynccontextmanager
async def fresh_database(parts: Parts) -> AsyncIterator[str]:
    """A database with the schema of this version; dropped at the end."""
    with empty_database(parts) as dsn:
        await migrate_all(dsn)
        yield dsn


@contextmanager
def empty_database(parts: Parts) -> Iterator[str]:
    """A database with nothing in it; dropped at the end."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    parts.postgres.create_database(name)
    try:
        yield parts.postgres.dsn(name)
    finally:
        parts.postgres.query(f'drop database "{name}" with (force)', "postgres")
