"""Invoices, from a draft to what was issued; their lines, and the records behind these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from invoicing.errors import Held
from invoicing.ids import invoice_id
from invoicing.model import Basis, Document, Line, LineKind, Span
from invoicing.store.connecting import Connection, Row, execute, fetch, fetch_row, fetch_value, span_of

RecordKey = tuple[UUID, int]
"""A record as an adjustment compares it: its id and `started_at` in ms."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice that is not issued yet."""

    invoice_id: UUID
    account_id: str
    kind: str
    during: Span
    corrects: UUID | None
    currency: str


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued invoice whose period has changed since."""

    invoice_id: UUID
    number: str
    during: Span
    tax_percent: Decimal


@dataclass(frozen=True, slots=True)
class Adjusting:
    """An adjustment line: the invoice it adjusts, and the records that came to its period and left it."""

    line: Line
    adjusts: UUID
    came: frozenset[RecordKey]
    went: frozenset[RecordKey]


@dataclass(frozen=True, slots=True)
class Credit:
    """A manual credit that no invoice carries yet."""

    credit_id: int
    amount_minor: int
    reason: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far the stream is with an account's period."""

    watermark_ms: int | None
    has_open: bool
    has_unread: bool


async def open_draft(
    connection: Connection,
    account_id: str,
    kind: str,
    during: Span,
    currency: str,
    *,
    ordinal: int = 0,
    corrects: UUID | None = None,
) -> UUID:
    """The live invoice of this account, kind and period, which is a new draft if there is none."""
    key = (account_id, kind, during.from_ms, during.to_ms, ordinal)
    row = await fetch_row(connection, "live_invoice", *key)
    assert row is not None
    if row["invoice_id"] is not None:
        found: UUID = row["invoice_id"]
        return found
    new = invoice_id(account_id, kind, during, ordinal, row["voided"])
    await execute(connection, "add_draft", new, *key, corrects, currency)
    return new


async def drafts(connection: Connection, account_id: str) -> list[Draft]:
    """An account's drafts, those of earlier periods first."""
    return [
        Draft(
            row["invoice_id"],
            account_id,
            row["kind"],
            span_of(row),
            row["corrects"],
            row["currency"],
        )
        for row in await fetch(connection, "drafts", account_id)
    ]


async def readiness(connection: Connection, account_id: str, during: Span, position: int) -> Readiness:
    """How far the stream is with what started in a period, and with telling of it, in one snapshot."""
    row = await fetch_row(connection, "readiness", account_id, during.from_ms, during.to_ms, position)
    assert row is not None
    return Readiness(row["watermark"], row["has_open"], row["has_unread"])


async def invoices_to_review(connection: Connection, account_id: str) -> list[Issued]:
    """Issued invoices of an account in whose period a record came, went or moved since."""
    return [
        Issued(row["invoice_id"], row["number"], span_of(row), row["tax_percent"])
        for row in await fetch(connection, "invoices_to_review", account_id)
    ]


async def billed_so_far(connection: Connection, adjusts: UUID) -> dict[tuple[str, Decimal], int]:
    """What an invoice and its adjustments have billed, net of tax, by bot and tax rate."""
    rows = await fetch(connection, "billed_so_far", adjusts)
    return {(row["bot_id"], row["tax_percent"]): row["amount_minor"] for row in rows}


async def accounted_records(connection: Connection, adjusts: UUID, bot_id: str) -> frozenset[RecordKey]:
    """The records that an invoice and its adjustments account for, of one bot."""
    rows = await fetch(connection, "accounted_records", adjusts, bot_id)
    return frozenset((row["session_id"], row["started_at"]) for row in rows)


async def records_in(
    connection: Connection, account_id: str, bot_id: str, spans: Sequence[Span]
) -> frozenset[RecordKey]:
    """The records of a bot that start in these times now."""
    starts, ends = [span.from_ms for span in spans], [span.to_ms for span in spans]
    rows = await fetch(connection, "records_in", account_id, bot_id, starts, ends)
    return frozenset((row["session_id"], row["started_at"]) for row in rows)


async def clear_lines(connection: Connection, invoice_id: UUID) -> None:
    """Take all lines of a draft away."""
    await execute(connection, "clear_lines", invoice_id)


async def replace_lines(
    connection: Connection,
    draft: Draft,
    lines: Sequence[Line],
    adjusting: Mapping[Line, Adjusting],
) -> None:
    """Write a draft's lines anew, each with its records. Raises `Held` if some of these are missing."""
    await clear_lines(connection, draft.invoice_id)
    for number, line in enumerate(lines, 1):
        if line in adjusting:
            await _add_adjustment(connection, draft.invoice_id, number, adjusting[line])
        else:
            await _add_line(connection, draft, number, line)


async def lines(connection: Connection, invoice_id: UUID) -> list[Line]:
    """An invoice's lines, in order."""
    return [_line(row) for row in await fetch(connection, "lines", invoice_id)]


async def open_credits(connection: Connection, account_id: str, until_ms: int) -> list[Credit]:
    """An account's manual credits that no invoice carries."""
    return [
        Credit(row["credit_id"], row["amount_minor"], row["reason"])
        for row in await fetch(connection, "open_credits", account_id, until_ms)
    ]


async def use_credits(connection: Connection, credits: Sequence[Credit], invoice_id: UUID) -> None:
    """Have an invoice carry these credits."""
    await execute(connection, "use_credits", [credit.credit_id for credit in credits], invoice_id)


async def hold_draft(
    connection: Connection, invoice_id: UUID, total_minor: int, position: int, code: str, detail: str
) -> None:
    """Leave a draft a draft, with the reason."""
    await execute(connection, "hold_draft", invoice_id, total_minor, position, code, detail)


async def next_number(connection: Connection, seller_id: str, year: int) -> int:
    """The next number of a seller and year: nobody else gets one until the transaction ends."""
    number: int = await fetch_value(connection, "next_number", seller_id, year)
    return number


async def issue(
    connection: Connection,
    invoice_id: UUID,
    document: Document,
    *,
    number: tuple[str, int, int],
    position: int,
    stored: Mapping[str, Any],
    pdf: bytes,
    pdf_sha256: str,
) -> None:
    """Make a draft final: from now on it stays as it is. `number` is seller, year and number in it."""
    await execute(
        *(connection, "issue", invoice_id, document.total_minor, position, *number, document.number),
        *(document.issued_ms, document.due_ms, stored, pdf, pdf_sha256),
    )


async def to_review(connection: Connection, invoice_id: UUID) -> None:
    """Have an invoice compared with what is owed now, if it is issued."""
    await execute(connection, "to_review", invoice_id)


async def reviewed(connection: Connection, invoices: Sequence[UUID]) -> None:
    """These were compared with what is owed now, and what differed was billed."""
    await execute(connection, "reviewed", list(invoices))


async def _add_line(connection: Connection, draft: Draft, number: int, line: Line) -> None:
    plan_id, version = line.plan or (None, None)
    during = (line.during.from_ms, line.during.to_ms) if line.during else (None, None)
    found: int = await fetch_value(
        *(connection, "add_line", draft.invoice_id, number, line.kind, line.basis, line.bot_id),
        *(plan_id, version, *during, line.quantity, line.unit_price, line.tax_percent),
        *(line.amount_minor, line.detail, draft.account_id, line.first),
    )
    if line.kind in (LineKind.USAGE, LineKind.ALERT) and found != line.quantity:
        raise Held(
            f"line {number} bills {line.quantity} sessions, {found} records are there", "records_missing"
        )


async def _add_adjustment(
    connection: Connection, invoice_id: UUID, number: int, adjusting: Adjusting
) -> None:
    line = adjusting.line
    assert line.during is not None
    await execute(
        *(connection, "add_adjustment", invoice_id, number, line.bot_id, line.tax_percent),
        *(line.amount_minor, line.detail, adjusting.adjusts),
        [session_id for session_id, _ in adjusting.came],
        [session_id for session_id, _ in adjusting.went],
        [started_ms for _, started_ms in adjusting.went],
        *(line.during.from_ms, line.during.to_ms),
    )


def _line(row: Row) -> Line:
    return Line(
        LineKind(row["kind"]),
        Basis(row["basis"]),
        row["tax_percent"],
        row["amount_minor"],
        quantity=row["quantity"],
        bot_id=row["bot_id"],
        plan=(row["plan_id"], row["plan_version"]) if row["plan_id"] else None,
        during=None if row["from_at"] is None else span_of(row),
        unit_price=row["unit_price"],
        detail=row["detail"],
    )
