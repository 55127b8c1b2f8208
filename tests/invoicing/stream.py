"""What a stream worker would have written: records, their changes and how far the stream has come.

Written as the owner of the ledger's tables, by the contract of its views: changes get positions without gaps
and commit with the records they are changes of.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from tests.invoicing.times import at

_PUT = """
insert into billing.session_record
  (session_id, kind, account_id, bot_id, user_id, channel, subject_id, started_at, ended_at, bot_ms, agent_ms,
   status, revision, algorithm, shard)
select session_id, kind, account_id, bot_id, 'user-1', 'web', 'of ' || session_id, started_at, ended_at,
       60000, 0, status, 1, 1, 0
from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[])
  as r (session_id, kind, account_id, bot_id, started_at, ended_at, status)
on conflict (session_id) do update set
  started_at = excluded.started_at, ended_at = excluded.ended_at, status = excluded.status,
  revision = session_record.revision + 1, corrected_at = now()
"""
_TELL = """
insert into billing.session_record_change
  (position, session_id, kind, account_id, bot_id, user_id, channel, subject_id, started_at, ended_at, bot_ms,
   agent_ms, status, revision, corrected_at, algorithm)
select $2 + row_number() over (order by place), session_id, kind, account_id, bot_id, user_id, channel,
       subject_id, started_at, ended_at, bot_ms, agent_ms, status, revision, corrected_at, algorithm
from unnest($1::uuid[]) with ordinality as told (session_id, place)
join billing.session_record using (session_id)
where status <> 'open'
"""
_LOCK = "select last_position from billing.change_counter for update"
_COUNT = """
update billing.change_counter
set last_position = (select coalesce(max(position), 0) from billing.session_record_change)
"""
_REACH = """
insert into billing.source_partition (topic, partition, next_offset, clock_ms, owner)
values ('conversation', 0, 0, $1, gen_random_uuid())
on conflict (topic, partition) do update set clock_ms = $1
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A session record; times in ms. `name` decides its id."""

    name: str
    started_ms: int
    account_id: str = "acme"
    bot_id: str = "sales"
    kind: str = "usage"
    status: str = "final"
    ended_ms: int | None = None

    @property
    def session_id(self) -> uuid.UUID:
        try:
            return uuid.UUID(self.name)
        except ValueError:
            return uuid.uuid5(uuid.NAMESPACE_URL, self.name)


class Stream:
    """Writes as a worker would; `connection` belongs to the owner of the ledger."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def write(self, records: Iterable[Record]) -> None:
        """New records, or others of the same id, in one commit."""
        rows = list(records)
        columns = [
            [record.session_id for record in rows],
            [record.kind for record in rows],
            [record.account_id for record in rows],
            [record.bot_id for record in rows],
            [at(record.started_ms) for record in rows],
            [at(record.started_ms if record.ended_ms is None else record.ended_ms) for record in rows],
            [record.status for record in rows],
        ]
        async with self.connection.transaction():
            last = await self.connection.fetchval(_LOCK)
            await self.connection.execute(_PUT, *columns)
            await self.connection.execute(_TELL, columns[0], last)
            await self.connection.execute(_COUNT)

    async def reach(self, watermark_ms: int) -> None:
        """Have all partitions stand at this time."""
        await self.connection.execute(_REACH, watermark_ms)
