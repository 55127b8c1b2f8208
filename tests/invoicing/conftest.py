"""Fixtures of the aggregator's tests: its store on a fresh database, and a stream that writes records."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from invoicing.store.connecting import Store
from tests.invoicing.stream import Stream


@pytest_asyncio.fixture
async def store(database: str) -> AsyncIterator[Store]:
    opened = await Store.open(database)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def stream(database: str) -> AsyncIterator[Stream]:
    connection = await asyncpg.connect(database)
    yield Stream(connection)
    await connection.close()
