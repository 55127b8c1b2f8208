"""Reading the contract view, as any consumer may: session records in their NDJSON form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg

from schemas.records import FIELDS, SessionRecord
from sinks.connecting import Role, connect, connecting
from sinks.statements import statement

_FIELDS_OF_KIND = {
    kind: [field.name for field in FIELDS if kind in field.kinds] for kind in ("usage", "alert")
}
_FETCHED_AT_ONCE = 5_000


async def read_session_records(
    dsn: str,
    *,
    account_id: str | None = None,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    status: str | None = None,
) -> AsyncIterator[SessionRecord]:
    """Records that start in [from, to), sorted as published. Raises `Unreachable` and `Refused`."""
    connection = await connect(dsn, Role.READER)
    try:
        with connecting():
            async with connection.transaction(readonly=True):
                query = statement("session_records")
                filters = (account_id, from_time, to_time, status)
                async for row in connection.cursor(query, *filters, prefetch=_FETCHED_AT_ONCE):
                    yield record_of(row)
    finally:
        await connection.close()


def record_of(row: asyncpg.Record) -> SessionRecord:
    """A row of a view of records, in their NDJSON form."""
    return cast(SessionRecord, {name: _published(row[name]) for name in _FIELDS_OF_KIND[row["kind"]]})


def _published(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value if value is None or isinstance(value, int) else str(value)
