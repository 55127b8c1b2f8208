"""A run of the aggregator: read the feed, end periods, compute drafts, issue what may be issued.

Any number of runs may be started at once and any of them may be killed anywhere: they take turns, so that
numbers are given in the same order as by one, and each step is a transaction that leaves nothing to repair.
Within a step the account is locked against acts on its subscriptions. What goes wrong with an invoice holds
that invoice, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from invoicing.billing import Bill, adjusting_of, compute
from invoicing.errors import InvoicingError, StoreUnreachable
from invoicing.issuing import issue
from invoicing.model import Account
from invoicing.renewing import end_periods, has_next_invoice, mind_payments
from invoicing.store import accounts as people
from invoicing.store import invoices as books
from invoicing.store.connecting import Connection, Store, fetch, fetch_value
from invoicing.store.feed import hold_feed, read_feed
from schemas.times import format_time_ms


@dataclass(slots=True)
class Summary:
    """What a run did."""

    accounts: int = 0
    periods_ended: int = 0
    issued: int = 0
    held: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """How a run goes: as of when, and how long an invoice waits after its period for what comes late (ms)."""

    store: Store
    as_of_ms: int
    grace_ms: int
    on_account: Callable[[str], None] = lambda account_id: None

    async def all(self) -> Summary:
        """Do all there is to do."""
        summary = Summary()
        async with self.store.alone():
            await read_feed(self.store)
            for account_id in await self._accounts():
                await read_feed(self.store)
                await self._work(account_id, summary)
                self.on_account(account_id)
        return summary

    async def _accounts(self) -> list[str]:
        """Those with anything to do."""
        async with self.store.transaction() as connection:
            rows = await fetch(connection, "accounts_with_work", self.as_of_ms)
        return [row["account_id"] for row in rows]

    async def _work(self, account_id: str, summary: Summary) -> None:
        """End what is over and issue what may be, for one account."""
        summary.accounts += 1
        try:
            waiting = await self._prepare(account_id, summary)
        except StoreUnreachable:
            raise
        except Exception as error:
            summary.failures.append(f"{account_id}: {_told(error)}")
            return
        for draft in waiting:
            await self._settle(draft, summary)

    async def _prepare(self, account_id: str, summary: Summary) -> list[books.Draft]:
        """End what is over for an account; return its drafts."""
        async with self.store.transaction() as connection:
            account = await people.lock_account(connection, account_id)
            ended = await end_periods(connection, account, self.as_of_ms)
            await mind_payments(connection, account, self.as_of_ms)
            await _open_adjustments(connection, account)
            waiting = await books.drafts(connection, account_id)
        summary.periods_ended += ended
        return waiting

    async def _settle(self, draft: books.Draft, summary: Summary) -> None:
        """Issue a draft, or hold it with its reason."""
        try:
            reason = await self._issue_or_wait(draft)
        except StoreUnreachable:
            raise
        except InvoicingError as error:
            reason = (error.code, str(error))
            await self._hold(draft, *reason)
        except Exception as error:
            reason = ("internal_error", _told(error))
            summary.failures.append(f"{draft.account_id}: {_told(error)}")
            await self._hold(draft, *reason)
        if reason:
            summary.held[reason[0]] += 1
        else:
            summary.issued += 1

    async def _issue_or_wait(self, draft: books.Draft) -> tuple[str, str] | None:
        """Issue a draft if it may be; else keep it as it was computed, and return why. Raises `Held`."""
        async with self.store.transaction() as connection:
            account = await people.lock_account(connection, draft.account_id)
            position = await hold_feed(connection)
            bill = await compute(connection, account, draft, self.as_of_ms)
            await books.replace_lines(connection, draft, bill.lines, bill.adjusting)
            reason = await self._reason_to_wait(connection, draft, position)
            if reason:
                await books.hold_draft(connection, draft.invoice_id, bill.total_minor, position, *reason)
            else:
                await _issue(connection, account, draft, bill, self.as_of_ms, position)
        return reason

    async def _hold(self, draft: books.Draft, code: str, detail: str) -> None:
        """Keep a draft that could not be computed or printed, without lines that are no longer so."""
        async with self.store.transaction() as connection:
            await books.clear_lines(connection, draft.invoice_id)
            await books.hold_draft(connection, draft.invoice_id, 0, 0, code, detail)

    async def _reason_to_wait(
        self, connection: Connection, draft: books.Draft, position: int
    ) -> tuple[str, str] | None:
        """Why a draft cannot be final yet, if so."""
        end_ms = draft.during.to_ms
        if draft.kind == "period" and self.as_of_ms < end_ms + self.grace_ms:
            return "in_grace", f"until {format_time_ms(end_ms + self.grace_ms)}"
        ready = await books.readiness(connection, draft.account_id, draft.during, position)
        reached_ms = ready.watermark_ms
        if reached_ms is None or reached_ms < end_ms:
            stands = "has not begun" if reached_ms is None else f"is at {format_time_ms(reached_ms)}"
            return "stream_behind", f"the stream {stands}, the period ends {format_time_ms(end_ms)}"
        if ready.has_open:
            return "records_open", "a session that started in the period is not final yet"
        if ready.has_unread:
            return "changes_unread", "a record of the period changed just now: the next run reads it"
        return None


async def _open_adjustments(connection: Connection, account: Account) -> None:
    """Where no next invoice will come, give each adjustment an invoice of its own."""
    to_review = await books.invoices_to_review(connection, account.account_id)
    if not to_review or await has_next_invoice(connection, account):
        return
    for issued in to_review:
        if not await adjusting_of(connection, account, issued):
            await books.reviewed(connection, [issued.invoice_id])
            continue
        await books.open_draft(
            *(connection, account.account_id, "adjustment", issued.during, account.currency),
            ordinal=await fetch_value(connection, "adjustments_of", issued.invoice_id),
            corrects=issued.invoice_id,
        )


async def _issue(
    connection: Connection, account: Account, draft: books.Draft, bill: Bill, as_of_ms: int, position: int
) -> None:
    """Issue a draft as it was computed; it carries its credits and has done its reviews."""
    await books.use_credits(connection, bill.credits, draft.invoice_id)
    await books.reviewed(connection, [issued.invoice_id for issued in bill.reviewed])
    await issue(connection, account, draft, bill.lines, as_of_ms, position)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
