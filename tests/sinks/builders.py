"""Rows for tests of a ledger: every builder makes a valid row, so that a test names only what it is about.

A small number stands for an id: the same number is the same session, conversation or delivery everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from schemas.topics import Topic
from sinks.ledger import (
    Advance,
    AlertReport,
    AlertReportRow,
    Checkpoint,
    ChunkRow,
    ConversationRow,
    DeadLetterRow,
    Ledger,
    LimitCounts,
    OutcomeKey,
    Position,
    RecordRow,
    Rows,
    Settled,
    SourcePartition,
    VoidRow,
)

MESSAGES = SourcePartition(Topic.CONVERSATION, 0)
HANDOFFS = SourcePartition(Topic.AGENT_HANDOFF, 0)
ALERTS = SourcePartition(Topic.ALERT_DELIVERY, 0)
SHARD = 0
NOTHING_COUNTED = LimitCounts()
NOON_MS = 1_790_769_600_000  # 2026-09-30T12:00:00Z
MINUTE_MS = 60_000


def id_of(number: int) -> bytes:
    """The 16 bytes of a session, conversation or delivery."""
    return number.to_bytes(16, "big")


def usage(number: int = 1, **different: Any) -> RecordRow:
    """A usage record that is open, and the last of a session that settles at noon."""
    row = RecordRow(
        session_id=id_of(number),
        kind="usage",
        account_id="acme",
        bot_id="sales",
        user_id="u-1",
        channel="web",
        subject_id=f"c-{number}",
        session_started_ms=NOON_MS - 10 * MINUTE_MS,
        block=1,
        started_ms=NOON_MS - 10 * MINUTE_MS,
        ended_ms=NOON_MS - 4 * MINUTE_MS,
        bot_ms=5 * MINUTE_MS,
        agent_ms=MINUTE_MS,
        user_messages=3,
        bot_messages=2,
        status="open",
        revision=5,
        late=False,
        settles_ms=NOON_MS,
        shard=SHARD,
    )
    return row._replace(**different)


def session(blocks: int = 3, first: int = 1, **different: Any) -> list[RecordRow]:
    """The records of an open session, numbered from the first; the last one tells when it settles."""
    settles_ms = different.pop("settles_ms", NOON_MS)
    return [
        usage(
            first + place,
            **{"subject_id": f"c-{first}", "block": place + 1}
            | different
            | {"settles_ms": settles_ms if place == blocks - 1 else None},
        )
        for place in range(blocks)
    ]


def alert(number: int = 1, report: AlertReport | None = None, **different: Any) -> RecordRow:
    """The record of an alert delivery: final at once, its fields those of the first report."""
    reported_ms, user_id, channel = report or reported(NOON_MS)
    row = usage(number)._replace(
        kind="alert",
        subject_id=f"d-{number}",
        user_id=user_id,
        channel=channel,
        session_started_ms=None,
        block=None,
        started_ms=reported_ms,
        ended_ms=reported_ms,
        bot_ms=None,
        agent_ms=None,
        user_messages=None,
        bot_messages=None,
        status="final",
        revision=1,
        settles_ms=None,
    )
    return row._replace(**different)


def reported(reported_ms: int, user_id: str = "u-1", channel: str = "sms") -> AlertReport:
    """A report of an alert delivery."""
    return AlertReport(reported_ms, user_id, channel)


def report_row(number: int, report: AlertReport) -> AlertReportRow:
    """A further report of an alert delivery."""
    return AlertReportRow(id_of(number), *report)


def void(number: int = 1, revision: int = 6) -> VoidRow:
    """A record that the facts no longer yield."""
    return VoidRow(id_of(number), revision)


def conversation(number: int = 1, **different: Any) -> ConversationRow:
    """A conversation with one record of the same number, which settles at noon."""
    row = ConversationRow(
        key=id_of(number),
        account_id="acme",
        bot_id="sales",
        conversation_id=f"c-{number}",
        shard=SHARD,
        revision=5,
        settles_ms=NOON_MS,
        record_ids=id_of(number),
        begun_ms=NOON_MS - 10 * MINUTE_MS,
    )
    return row._replace(**different)


def chunk(
    number: int = 1, revision: int = 5, facts: bytes = b"facts", strings: str = "|u-1|web\n"
) -> ChunkRow:
    """Facts to append to a conversation."""
    return ChunkRow(id_of(number), revision, facts, strings)


def dead_letter(offset: int = 0, **different: Any) -> DeadLetterRow:
    """A record that is not an event."""
    row = DeadLetterRow(
        source=MESSAGES,
        offset=offset,
        reason="not_json",
        field="",
        detail="expected value at line 1",
        key=b"acme|sales|c-1",
        value=b"{",
        recorded_ms=NOON_MS,
    )
    return row._replace(**different)


def counted(outcome: str, count: int, reason: str = "", source: SourcePartition = MESSAGES) -> Any:
    """The outcome counts of a checkpoint, with one entry."""
    return {OutcomeKey(source, outcome, reason): count}


def settled(before_ms: int, shard: int = SHARD) -> tuple[Settled, ...]:
    """What settles before this time is final, in one shard."""
    return (Settled(shard, before_ms),)


_ROWS = {"conversations": ConversationRow, "chunks": ChunkRow, "records": RecordRow}


class Worker:
    """A claim, and the checkpoints that continue it one after another."""

    def __init__(self, owner: UUID, positions: Mapping[SourcePartition, Position]) -> None:
        self.owner = owner
        self.positions = dict(positions)

    def checkpoint(
        self,
        read: int | Mapping[SourcePartition, int] = 1,
        clock_ms: int = NOON_MS,
        gap_count: int = 0,
        counts: LimitCounts = NOTHING_COUNTED,
        **content: Any,
    ) -> Checkpoint:
        """The next checkpoint; `read` offsets of each partition are behind it."""
        advances = []
        for source, position in sorted(self.positions.items()):
            offset = position.next_offset
            end = offset + (read if isinstance(read, int) else read.get(source, 0))
            advances.append(Advance(source, offset, end, clock_ms, gap_count, counts))
            self.positions[source] = Position(end, clock_ms)
        for name, row_type in _ROWS.items():
            if name in content:
                content[name] = Rows(row_type, content[name])
        return Checkpoint(self.owner, advances, **content)

    def full_checkpoint(self, number: int = 1) -> Checkpoint:
        """A checkpoint that writes something of every kind and voids the record of the number before."""
        return self.checkpoint(
            settled=settled(NOON_MS + 1),
            conversations=[conversation(number)],
            chunks=[chunk(number)],
            records=[usage(number), alert(1_000 + number)],
            voids=[void(number - 1)],
            alert_reports=[report_row(1_000 + number, reported(NOON_MS + 1))],
            dead_letters=[dead_letter(number)],
            outcomes=counted("fact", 1) | counted("dead_letter", 1, "not_json"),
        )


async def start_worker(ledger: Ledger, *sources: SourcePartition) -> Worker:
    """Claim these partitions (by default one shard and one of alerts) under a new owner."""
    owner = uuid4()
    return Worker(owner, await ledger.claim(owner, dict.fromkeys(sources or (MESSAGES, HANDOFFS, ALERTS), 0)))
