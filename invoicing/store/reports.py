"""What people ask of the store: invoices, what stands behind them, and what was used; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from invoicing.model import Span
from invoicing.store.connecting import Connection, Row, fetch, fetch_row, span_of


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice in a list; a draft has no number and no dates, but perhaps a reason why it is one."""

    invoice_id: UUID
    number: str | None
    account_id: str
    kind: str
    status: str
    held_code: str | None
    held_detail: str | None
    during: Span
    currency: str
    total_minor: int
    paid_minor: int
    issued_ms: int | None
    due_ms: int | None
    corrects: str | None

    @property
    def name(self) -> str:
        """What it is asked for by: its number, or the id of a draft."""
        return self.number or str(self.invoice_id)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment, or a refund if it is negative."""

    reference: str
    amount_minor: int
    actor: str
    paid_ms: int


@dataclass(frozen=True, slots=True)
class InvoicedRecord:
    """A record as it was invoiced, by which line; `change`: whether an adjustment has it come or go."""

    line: int
    kind: str
    bot_id: str
    change: str | None
    session_id: UUID
    position: int
    revision: int
    started_ms: int
    ended_ms: int
    bot_ms: int | None
    agent_ms: int | None
    user_id: str
    channel: str
    subject_id: str


@dataclass(frozen=True, slots=True)
class Unbilled:
    """Records of a bot that no plan covers, and why: within this time, so many."""

    account_id: str
    bot_id: str
    code: str
    during: Span
    sessions: int


@dataclass(frozen=True, slots=True)
class FeedStanding:
    """How far the change feed is read, whether more of it is there, and how far the stream has come."""

    position: int
    has_unread: bool
    watermark_ms: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored of an invoice when it was issued."""

    number: str
    document: Mapping[str, Any]
    pdf: bytes
    pdf_sha256: str


async def invoices(
    connection: Connection,
    account_id: str | None = None,
    status: str | None = None,
    *,
    held: bool = False,
    name: str | None = None,
) -> list[Invoice]:
    """Invoices of an account and a status; those that are held; or the one of a number or id."""
    rows = await fetch(connection, "list_invoices", account_id, status, held, name)
    return [_invoice(row) for row in rows]


async def payments(connection: Connection, invoice_id: UUID) -> list[Payment]:
    """What was paid of an invoice, in order of time."""
    return [Payment(*row.values()) for row in await fetch(connection, "payments", invoice_id)]


async def records_of_invoice(connection: Connection, invoice_id: UUID) -> list[InvoicedRecord]:
    """The records behind an invoice's lines, line by line in order of their start."""
    return [
        InvoicedRecord(*row.values()) for row in await fetch(connection, "records_of_invoice", invoice_id)
    ]


async def stored(connection: Connection, invoice_id: UUID) -> Stored | None:
    """What was stored of an invoice; None of a draft."""
    row = await fetch_row(connection, "issued_document", invoice_id)
    return Stored(*row.values()) if row and row["number"] else None


async def unbilled_records(connection: Connection, account_id: str | None = None) -> list[Unbilled]:
    """Records that no plan covers, of an account or of all."""
    return [
        Unbilled(row["account_id"], row["bot_id"], row["code"], span_of(row), row["sessions"])
        for row in await fetch(connection, "unbilled_records", account_id)
    ]


async def feed_standing(connection: Connection) -> FeedStanding:
    """How far the change feed is read."""
    row = await fetch_row(connection, "feed_standing")
    assert row is not None
    return FeedStanding(row["position"], row["has_unread"], row["watermark"])


def _invoice(row: Row) -> Invoice:
    return Invoice(
        *(row["invoice_id"], row["number"], row["account_id"], row["kind"], row["status"]),
        *(row["held_code"], row["held_detail"], span_of(row), row["currency"], row["total_minor"]),
        *(row["paid_minor"], row["issued_at"], row["due_at"], row["corrects"]),
    )
