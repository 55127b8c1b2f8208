"""Reading all that the ledger holds of one session record, to explain it: under an operator's own login.

Facts and reports are ours, so no role of a consumer may read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from schemas.records import SessionRecord
from schemas.topics import join_key
from sinks.connecting import connect_as_login, connecting
from sinks.ledger import AlertReport
from sinks.statements import statement
from sinks.views import record_of


class Change(NamedTuple):
    """What consumers were told of a record, and at which position of the change feed."""

    position: int
    record: SessionRecord


class DatedSeal(NamedTuple):
    """A seal of a conversation: its facts up to a time are gone."""

    through_ms: int
    facts: int
    """How many are gone, with all earlier seals."""
    begun_ms: int
    """The time of the conversation's first fact, which decides its rule set."""
    sealed_ms: int
    """When it was made."""


@dataclass(frozen=True, slots=True)
class History:
    """A record, what consumers were told of it, and what it was computed from."""

    record: SessionRecord
    changes: list[Change]
    facts: bytes
    """Of its conversation, those that are not sealed, in the order of arrival; none if it is an alert."""
    strings: str
    further_reports: list[AlertReport]
    """Of its alert delivery: those that are not the record."""
    rule_sets: list[dict[str, Any]]
    seals: list[DatedSeal]
    """Of its conversation, the first one first."""


async def read_history(
    dsn: str, session_id: UUID, conversation_key: Callable[[bytes], bytes]
) -> History | None:
    """Read it as of one moment; None if there is no such record. Raises `Unreachable` and `Refused`.

    `conversation_key` tells under which key a conversation of this Kafka key is stored.
    """
    connection = await connect_as_login(dsn)
    try:
        with connecting():
            async with connection.transaction(readonly=True, isolation="repeatable_read"):
                return await _read(connection, session_id, conversation_key)
    finally:
        await connection.close()


async def _read(
    connection: asyncpg.Connection, session_id: UUID, conversation_key: Callable[[bytes], bytes]
) -> History | None:
    row = await connection.fetchrow(statement("session_record"), session_id)
    if row is None:
        return None
    changes = await connection.fetch(statement("changes_of_record"), session_id)
    rule_sets = await connection.fetch(statement("rule_sets"))
    facts, strings, reports, seals = b"", "", [], []
    if row["kind"] == "usage":
        kafka_key = join_key(row["account_id"], row["bot_id"], row["conversation_id"])
        key = UUID(bytes=conversation_key(kafka_key))
        for found in await connection.fetch(statement("look_up_conversations"), [key]):
            facts, strings = found["facts"] or b"", found["strings"] or ""
        seals = await connection.fetch(statement("seals_of_conversation"), key)
    else:
        rows = await connection.fetch(statement("look_up_alerts"), [session_id])
        reports = [
            AlertReport(it["reported_ms"], it["user_id"], it["channel"])
            for it in rows
            if it["reported_ms"] is not None
        ]
    return History(
        record=record_of(row),
        changes=[Change(change["position"], record_of(change)) for change in changes],
        facts=facts,
        strings=strings,
        further_reports=sorted(reports),
        rule_sets=[dict(rule_set) for rule_set in rule_sets],
        seals=[DatedSeal(*seal) for seal in seals],
    )
