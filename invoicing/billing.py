"""From the terms and the records of now to a draft's lines, adjustments of earlier invoices among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from invoicing.adjusting import adjustments, moved
from invoicing.errors import Held
from invoicing.model import Account, Basis, Line, LineKind, Slice
from invoicing.rating import rate, total, with_tax
from invoicing.store import invoices as books
from invoicing.store import subscriptions as contracts
from invoicing.store.connecting import Connection
from invoicing.store.counting import count_in_slices


@dataclass(frozen=True, slots=True)
class Bill:
    """A draft as it was computed."""

    lines: list[Line]
    adjusting: dict[Line, books.Adjusting]
    reviewed: list[books.Issued]
    credits: list[books.Credit]

    @property
    def total_minor(self) -> int:
        """The sum of its lines."""
        return total(self.lines)


async def compute(connection: Connection, account: Account, draft: books.Draft, as_of_ms: int) -> Bill:
    """A draft's lines from the terms and the records of now. Raises `Held`."""
    slices = await contracts.slices_of_invoice(connection, draft.invoice_id)
    lines = await _owed(connection, account, slices, account.tax_percent)
    to_review = await books.invoices_to_review(connection, account.account_id)
    if draft.kind == "adjustment":
        to_review = [issued for issued in to_review if issued.invoice_id == draft.corrects]
    adjusting: dict[Line, books.Adjusting] = {}
    for issued in to_review:
        for one in await adjusting_of(connection, account, issued):
            adjusting[one.line] = one
    credits = await books.open_credits(connection, account.account_id, as_of_ms)
    lines = with_tax([*lines, *adjusting, *(_credit_line(account, credit) for credit in credits)])
    return Bill(lines, adjusting, to_review, credits)


async def _owed(
    connection: Connection, account: Account, slices: Sequence[Slice], tax_percent: Decimal
) -> list[Line]:
    """What is owed for these slices by the records of now, net of tax."""
    for one in slices:
        if one.terms.currency != account.currency:
            raise Held(
                f"plan {one.terms.plan_id} is in {one.terms.currency}, the account in {account.currency}",
                "currency_differs",
            )
    counts = await count_in_slices(connection, "count_sessions", account.account_id, slices)
    return list(
        chain.from_iterable(
            rate(one, sessions, tax_percent) for one, sessions in zip(slices, counts, strict=True)
        )
    )


async def adjusting_of(
    connection: Connection, account: Account, issued: books.Issued
) -> list[books.Adjusting]:
    """What an issued invoice lacks of what is owed now, by bot, with the records that made the difference."""
    slices = await contracts.slices_of_invoice(connection, issued.invoice_id)
    owed = await _owed(connection, account, slices, issued.tax_percent)
    billed = await books.billed_so_far(connection, issued.invoice_id)
    found = []
    for bot_id, tax_percent, amount_minor in adjustments(owed, billed):
        spans = [one.during for one in slices if one.bot_id == bot_id]
        now = await books.records_in(connection, account.account_id, bot_id, spans)
        accounted = await books.accounted_records(connection, issued.invoice_id, bot_id)
        came, went = moved(now, accounted)
        line = Line(
            LineKind.ADJUSTMENT,
            Basis.OTHER,
            tax_percent,
            amount_minor,
            bot_id=bot_id,
            during=issued.during,
            detail=issued.number,
        )
        found.append(books.Adjusting(line, issued.invoice_id, frozenset(came), frozenset(went)))
    return found


def _credit_line(account: Account, credit: books.Credit) -> Line:
    return Line(LineKind.CREDIT, Basis.OTHER, account.tax_percent, -credit.amount_minor, detail=credit.reason)
