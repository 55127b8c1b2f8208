"""Payments, refunds and credits: each by somebody, with a reference, once.

A payment gateway will call `mark_paid`: the same reference with the same amount is the same payment and
changes nothing; with another amount it is a contradiction.
"""

from __future__ import annotations

from dataclasses import dataclass

from invoicing.errors import Conflict, NotAllowed, Unknown
from invoicing.store import accounts as people
from invoicing.store.connecting import Connection, Row, Store, execute, fetch_row, fetch_value


@dataclass(frozen=True, slots=True)
class Balance:
    """What an invoice comes to and what was paid of it, in minor units; more than its total may be paid."""

    number: str
    status: str
    currency: str
    total_minor: int
    paid_minor: int


async def mark_paid(
    store: Store, number: str, amount_minor: int, reference: str, *, at_ms: int, actor: str
) -> Balance:
    """Count a payment, or a refund if it is negative, towards an issued invoice.

    Raises `Unknown`, `NotAllowed` for one that is void, and `Conflict` for a reference with another amount.
    """
    if amount_minor == 0 or not reference:
        raise Conflict("a payment needs an amount other than 0 and a reference")
    async with store.transaction() as connection:
        invoice = await _locked(connection, number)
        if invoice["status"] == "void" or invoice["kind"] == "credit_note":
            raise NotAllowed(f"invoice {number} is void or a credit note: it cannot be paid")
        known: int | None = await fetch_value(connection, "payment", invoice["invoice_id"], reference)
        if known is not None and known != amount_minor:
            raise Conflict(f"reference {reference!r} is known for {number}, with another amount")
        if known is None:
            if invoice["paid_minor"] + amount_minor < 0:
                raise NotAllowed(f"more than was paid for {number} cannot be refunded")
            await execute(
                *(connection, "add_payment", invoice["invoice_id"], reference, amount_minor, actor, at_ms)
            )
            await _act(
                connection,
                invoice,
                "mark_paid",
                at_ms,
                actor,
                {"reference": reference, "amount_minor": amount_minor},
            )
        return _balance(await _locked(connection, number))


async def give_credit(
    store: Store, account_id: str, amount_minor: int, reason: str, reference: str, *, at_ms: int, actor: str
) -> None:
    """Give an account a credit, a line of its next invoice, net of tax; once for each reference."""
    if amount_minor <= 0 or not reason or not reference:
        raise Conflict("a credit needs an amount above 0, a reason and a reference")
    async with store.transaction() as connection:
        await people.lock_account(connection, account_id)
        known = await fetch_row(connection, "credit", account_id, reference)
        if known is not None:
            if (known["amount_minor"], known["reason"]) != (amount_minor, reason):
                raise Conflict(f"reference {reference!r} is known, with another amount or reason")
            return
        await execute(connection, "add_credit", account_id, amount_minor, reason, reference, actor, at_ms)
        await people.record_action(
            connection,
            "give_credit",
            as_of_ms=at_ms,
            actor=actor,
            account_id=account_id,
            details={"amount_minor": amount_minor, "reason": reason, "reference": reference},
        )


async def _locked(connection: Connection, number: str) -> Row:
    row = await fetch_row(connection, "lock_invoice", number)
    if row is None:
        raise Unknown(f"no invoice {number!r} was issued")
    return row


async def _act(
    connection: Connection, invoice: Row, event: str, at_ms: int, actor: str, details: dict[str, object]
) -> None:
    await people.record_action(
        connection,
        event,
        as_of_ms=at_ms,
        actor=actor,
        account_id=invoice["account_id"],
        subject=f"invoice {invoice['number']}",
        details=details,
    )


def _balance(row: Row) -> Balance:
    return Balance(row["number"], row["status"], row["currency"], row["total_minor"], row["paid_minor"])
