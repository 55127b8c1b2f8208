"""Reading back what PostgreSQL holds, as the owner of the schema."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from sinks.ledger import DeadLetterRow, OutcomeKey, Position, SourcePartition
from tests.sinks.builders import id_of
from tests.sinks.contract import Change, Published

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = """session_id, kind, account_id, bot_id, user_id, channel, conversation_id, delivery_id,
session_started_at, block, started_at, ended_at, bot_ms, agent_ms, user_messages, bot_messages,
status, revision, corrected_at, algorithm"""


class PostgresInspect:
    """See `tests.sinks.contract.Inspect`; records and changes are read from the views of the contract."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def records(self) -> list[Published]:
        rows = await self._fetch(f"select {COLUMNS} from billing.session_records order by session_id")
        return [_published(row) for row in rows]

    async def changes(self, after: int = 0) -> list[Change]:
        rows = await self._fetch(
            f"select {COLUMNS}, position from billing.session_record_changes"
            " where position > $1 order by position",
            after,
        )
        return [Change(row["position"], _published(row)) for row in rows]

    async def positions(self) -> dict[SourcePartition, Position]:
        rows = await self._fetch(
            "select topic, partition, next_offset, clock_ms from billing.source_partition"
        )
        return {SourcePartition(*row[:2]): Position(*row[2:]) for row in map(tuple, rows)}

    async def gap_counts(self) -> dict[SourcePartition, int]:
        rows = await self._fetch("select topic, partition, gap_count from billing.source_partition")
        return {SourcePartition(topic, partition): count for topic, partition, count in rows}

    async def chunks(self, number: int) -> list[bytes]:
        rows = await self._fetch(
            "select facts from billing.fact_chunk where conversation_key = $1 order by revision",
            id_of(number).hex(),
        )
        return [row["facts"] for row in rows]

    async def outcome_counts(self) -> dict[OutcomeKey, int]:
        rows = await self._fetch(
            "select topic, partition, outcome, reason, records from billing.outcome_count"
        )
        return {
            OutcomeKey(SourcePartition(topic, partition), outcome, reason): records
            for topic, partition, outcome, reason, records in rows
        }

    async def dead_letters(self) -> list[DeadLetterRow]:
        rows = await self._fetch(
            'select topic, partition, "offset", reason, field, detail, key, value, recorded_at, account_id,'
            " replay_of from billing.dead_letter order by 1, 2, 3"
        )
        return [
            DeadLetterRow(SourcePartition(*row[:2]), *row[2:8], exact_ms(row[8]), *row[9:])
            for row in map(tuple, rows)
        ]

    async def request_recompute(self, number: int) -> None:
        await self._fetch(
            "insert into billing.recompute_request (shard, conversation_key, algorithm)"
            " select shard, conversation_key, 1 from billing.conversation where conversation_key = $1",
            id_of(number).hex(),
        )

    async def everything(self) -> dict[str, list[str]]:
        tables = await self._fetch("select tablename from pg_tables where schemaname = 'billing' order by 1")
        return {table: await self._rows(table) for (table,) in tables}

    async def _rows(self, table: str) -> list[str]:
        return [row for (row,) in await self._fetch(f"select t::text from billing.{table} t order by 1")]

    async def _fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.connection.fetch(sql, *arguments)
        return rows


def exact_ms(time: datetime) -> int:
    """Milliseconds since 1970; a time that is no whole millisecond is an error."""
    whole, rest = divmod(time - EPOCH, timedelta(milliseconds=1))
    assert not rest, f"{time} is no whole millisecond"
    return whole


def _published(row: asyncpg.Record) -> Published:
    fields = {
        name.replace("_at", "_ms") if name.endswith("started_at") or name == "ended_at" else name: value
        for name, value in row.items()
        if name != "position"
    }
    for name in ("session_started_ms", "started_ms", "ended_ms"):
        fields[name] = None if fields[name] is None else exact_ms(fields[name])
    fields["session_id"] = fields["session_id"].bytes
    return Published(**fields)
