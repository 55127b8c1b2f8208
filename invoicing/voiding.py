"""Taking an issued invoice back: it is void, a credit note says so, and its period is invoiced anew."""

from __future__ import annotations

from invoicing.errors import NotAllowed, Unknown
from invoicing.issuing import issue
from invoicing.model import Line
from invoicing.store import accounts as people
from invoicing.store import invoices as books
from invoicing.store.connecting import Store, execute, fetch_row, fetch_value, span_of
from invoicing.store.feed import hold_feed


async def void(store: Store, number: str, reason: str, *, at_ms: int, actor: str) -> str:
    """Make an invoice void and issue its credit note, whose number is returned.

    Raises `Unknown`, and `NotAllowed` for one that is void, a credit note, or adjusted by a later invoice.
    """
    if not reason:
        raise NotAllowed("an invoice is made void for a reason: say which")
    async with store.transaction() as connection:
        found = await fetch_row(connection, "invoice_to_void", number)
        if found is None:
            raise Unknown(f"no invoice {number!r} was issued")
        account = await people.lock_account(connection, found["account_id"])
        invoice = await fetch_row(connection, "invoice_to_void", number)
        assert invoice is not None
        if invoice["status"] == "void" or invoice["kind"] == "credit_note":
            raise NotAllowed(f"{number} is void or a credit note")
        if invoice["adjusted_by"]:
            raise NotAllowed(f"{number} was adjusted by {invoice['adjusted_by']}: make that void first")
        position = await hold_feed(connection)
        during, invoice_id = span_of(invoice), invoice["invoice_id"]
        ordinal = await fetch_value(
            connection, "credit_notes_of_period", account.account_id, during.from_ms, during.to_ms
        )
        note = await books.open_draft(
            *(connection, account.account_id, "credit_note", during, invoice["currency"]),
            ordinal=ordinal,
            corrects=invoice_id,
        )
        await execute(connection, "reverse_lines", note, invoice_id)
        lines: list[Line] = await books.lines(connection, note)
        draft = books.Draft(note, account.account_id, "credit_note", during, invoice_id, invoice["currency"])
        await issue(connection, account, draft, lines, at_ms, position)
        await execute(connection, "void_invoice", invoice_id)
        await execute(connection, "release_credits", invoice_id)
        await execute(connection, "review_adjusted", invoice_id)
        await books.reviewed(connection, [invoice_id])
        if invoice["kind"] == "period":
            anew = await books.open_draft(
                connection, account.account_id, "period", during, invoice["currency"]
            )
            await execute(connection, "move_periods", invoice_id, anew)
        note_number: str = await fetch_value(connection, "number_of", note)
        await people.record_action(
            connection,
            "void",
            as_of_ms=at_ms,
            actor=actor,
            account_id=account.account_id,
            subject=f"invoice {number}",
            details={"reason": reason, "credit_note": note_number},
        )
        return note_number
