"""Real parts for tests: one Kafka and one PostgreSQL a run, a fresh database and fresh topics a test.

| fixture | gives |
|---|---|
| `parts` | the `Parts` of the run, up; one that is missing ends the run and says how to get it |
| `breakable_parts` | the same, for a test that stops or kills one: all are up again after it |
| `kafka_brokers` | where Kafka answers |
| `database` | DSN of a fresh database with the schema of this version |
| `empty_database` | DSN of a fresh database without it |
| `new_database` | `await new_database()`: as many as a test needs; or copies of another by its name |
| `topics` | fresh topics of the three roles, with the default numbers of partitions: role -> name |
| `new_topics` | `await new_topics({Topic.CONVERSATION: 2})`: these roles, so many partitions |
| `stage` | a stage for workers on fresh topics and a fresh database (tests/streams/stage.py) |

The home is a temporary folder, removed at the end. With QUARTERHOUR_TEST_HOME=folder the parts are left
running there for the next run, which then starts at once.
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from quarterhour.database import migrate_all
from quarterhour.parts import PartFailed, PartMissing, Parts
from quarterhour.parts.topics import PARTITIONS, create_topics, delete_topics, run
from schemas.topics import Topic
from tests.reaper import ending_with_this_run
from tests.streams.stage import Stage, staged

# Taken out of the environment, where commands under test would refuse it as an unknown setting.
TEST_HOME = os.environ.pop("QUARTERHOUR_TEST_HOME", None)

NewDatabase = Callable[..., Awaitable[str]]
NewTopics = Callable[[Mapping[Topic, int]], Awaitable[dict[Topic, str]]]


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    home = Path(TEST_HOME) if TEST_HOME else tmp_path_factory.mktemp("home")
    with nullcontext() if TEST_HOME else ending_with_this_run(home):
        started = Parts(home)
        try:
            started.up()
        except (PartMissing, PartFailed) as error:
            pytest.exit(f"{error.code}: {error}", error.exit_status)
        yield started


@pytest.fixture
def breakable_parts(parts: Parts) -> Iterator[Parts]:
    yield parts
    parts.up()


@pytest.fixture(scope="session")
def kafka_brokers(parts: Parts) -> str:
    return parts.kafka.brokers


@pytest.fixture(scope="session")
def migrated_template(parts: Parts) -> Iterator[str]:
    name = _unique("template")
    parts.postgres.create_database(name)
    run(migrate_all(parts.postgres.dsn(name)))
    yield name
    parts.postgres.query(f'drop database "{name}" with (force)', "postgres")


@pytest_asyncio.fixture
async def new_database(parts: Parts, migrated_template: str) -> AsyncIterator[NewDatabase]:
    made = _Databases(parts)
    yield lambda template=migrated_template: made.create(template)
    await made.drop()


@pytest_asyncio.fixture
async def database(new_database: NewDatabase) -> str:
    return await new_database()


@pytest_asyncio.fixture
async def empty_database(parts: Parts) -> AsyncIterator[str]:
    made = _Databases(parts)
    yield await made.create("template1")
    await made.drop()


@pytest_asyncio.fixture
async def new_topics(kafka_brokers: str) -> AsyncIterator[NewTopics]:
    created: list[str] = []

    async def create(partitions: Mapping[Topic, int]) -> dict[Topic, str]:
        names = {role: _unique(role) for role in partitions}
        created.extend(names.values())
        await create_topics(kafka_brokers, {names[role]: count for role, count in partitions.items()})
        return names

    yield create
    await delete_topics(kafka_brokers, created)


@pytest_asyncio.fixture
async def topics(new_topics: NewTopics) -> dict[Topic, str]:
    return await new_topics(PARTITIONS)


@pytest_asyncio.fixture
async def stage(
    kafka_brokers: str, database: str, topics: dict[Topic, str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with staged(kafka_brokers, database, topics, tmp_path) as prepared:
        yield prepared


class _Databases:
    """The databases of one test."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._names: list[str] = []

    async def create(self, template: str) -> str:
        name = _unique("test")
        await self._execute(f'create database "{name}" template "{template}"')
        self._names.append(name)
        return self._parts.postgres.dsn(name)

    async def drop(self) -> None:
        for name in self._names:
            await self._execute(f'drop database "{name}" with (force)')

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self._parts.postgres.dsn("postgres"))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


def _unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"
