"""The stage of a test: see tests/streams/stage.py."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from schemas.topics import Topic
from tests.streams.stage import Stage, staged


@pytest_asyncio.fixture
async def stage(
    kafka_brokers: str, database: str, topics: dict[Topic, str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with staged(kafka_brokers, database, topics, tmp_path) as prepared:
        yield prepared
