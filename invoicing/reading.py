"""What people ask of the aggregator, as plain values: invoices and what stands behind them, usage, history.

Nothing here changes anything, and nothing reads the change feed on: a run does; how far it is, is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from invoicing.catalogue import Plan
from invoicing.changes import Standing, end_period
from invoicing.errors import InvoicingError, NotAllowed, Unknown
from invoicing.issuing import DOCUMENTS
from invoicing.model import Account, Document, Line, SessionKind, Slice, Span
from invoicing.periods import anchor_wall, days, zone_at
from invoicing.rating import rate
from invoicing.store import accounts as people
from invoicing.store import invoices as books
from invoicing.store import reports
from invoicing.store import subscriptions as contracts
from invoicing.store.connecting import Connection, Store
from invoicing.store.counting import count, count_in_slices
from invoicing.store.reports import FeedStanding, Invoice, InvoicedRecord, Payment, Unbilled
from invoicing.store.subscriptions import Subscription
from invoicing.usage import Count, Usage, usage
from invoicing.zones import zone


@dataclass(frozen=True, slots=True)
class InvoiceDetails:
    """An invoice, its lines in order, and what was paid of it."""

    invoice: Invoice
    lines: tuple[Line, ...]
    payments: tuple[Payment, ...]


@dataclass(frozen=True, slots=True)
class IssuedDocument:
    """What an invoice shows, and the PDF that was made of it when it was issued."""

    document: Document
    pdf: bytes


@dataclass(frozen=True, slots=True)
class BotUsage:
    """A bot's current period: how its subscription stands, what was used by kind, what it costs so far."""

    bot_id: str
    bot_name: str
    standing: Standing
    usage: tuple[Usage, ...]
    lines: tuple[Line, ...]

    @property
    def owed_minor(self) -> int:
        """What the period costs with the sessions so far, net of tax."""
        return sum(line.amount_minor for line in self.lines)


@dataclass(frozen=True, slots=True)
class DayUsage:
    """A bot's sessions by kind on one local day, as far as its period meets it."""

    bot_id: str
    day: date
    during: Span
    used: Mapping[SessionKind, int]


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """The usage of an account's bots that have a live subscription, and how far the feed was read."""

    account: Account
    at_ms: int
    bots: tuple[BotUsage, ...]
    feed: FeedStanding


@dataclass(frozen=True, slots=True)
class _Period:
    """A live subscription's period at a moment, and the terms over it."""

    subscription: Subscription
    standing: Standing
    slices: tuple[Slice, ...]


async def invoices(store: Store, account_id: str | None = None, status: str | None = None) -> list[Invoice]:
    """Invoices, the newest period first. Raises `Unknown` for an account that is not there."""
    async with store.transaction() as connection:
        await _known(connection, account_id)
        return await reports.invoices(connection, account_id, status)


async def held(store: Store, account_id: str | None = None) -> tuple[list[Invoice], list[Unbilled]]:
    """What waits for somebody: drafts with a reason, and records that no plan covers.

    Raises `Unknown` for an account that is not there and has no records either.
    """
    async with store.transaction() as connection:
        unbilled = await reports.unbilled_records(connection, account_id)
        if not unbilled:
            await _known(connection, account_id)
        return await reports.invoices(connection, account_id, held=True), unbilled


async def invoice(store: Store, name: str) -> InvoiceDetails:
    """An invoice by its number or id. Raises `Unknown`."""
    async with store.transaction() as connection:
        found = await _found(connection, name)
        lines = await books.lines(connection, found.invoice_id)
        payments = await reports.payments(connection, found.invoice_id)
        return InvoiceDetails(found, tuple(lines), tuple(payments))


async def records(store: Store, name: str) -> list[InvoicedRecord]:
    """The records behind an invoice's lines. Raises `Unknown`."""
    async with store.transaction() as connection:
        found = await _found(connection, name)
        return await reports.records_of_invoice(connection, found.invoice_id)


async def document(store: Store, name: str) -> IssuedDocument:
    """What was issued, as it was stored. Raises `Unknown`, and `NotAllowed` of a draft."""
    async with store.transaction() as connection:
        found = await _found(connection, name)
        stored = await reports.stored(connection, found.invoice_id)
    if stored is None:
        raise NotAllowed(f"invoice {name} is a draft: it has a document once it is issued")
    if hashlib.sha256(stored.pdf).hexdigest() != stored.pdf_sha256:
        raise InvoicingError(f"the stored PDF of {name} is not the one that was issued", "pdf_differs")
    return IssuedDocument(DOCUMENTS.validate_python(stored.document), stored.pdf)


async def subscriptions(store: Store, account_id: str | None = None) -> list[Subscription]:
    """All subscriptions, of an account or of all. Raises `Unknown` for an account that is not there."""
    async with store.transaction() as connection:
        await _known(connection, account_id)
        return await contracts.subscriptions(connection, account_id)


async def accounts(store: Store) -> list[Account]:
    """All accounts."""
    async with store.transaction() as connection:
        return await people.accounts(connection)


async def account(store: Store, account_id: str) -> Account:
    """An account by its id. Raises `Unknown`."""
    async with store.transaction() as connection:
        return await people.account(connection, account_id)


async def history(store: Store, account_id: str) -> list[dict[str, Any]]:
    """Who did what with an account and when, in order. Raises `Unknown`."""
    async with store.transaction() as connection:
        await _known(connection, account_id)
        return await people.actions(connection, account_id)


async def plans(store: Store) -> list[Plan]:
    """All versions of all plans."""
    async with store.transaction() as connection:
        return await people.plans(connection)


async def usage_of_account(store: Store, account_id: str, at_ms: int) -> AccountUsage:
    """What the bots of an account have used of their current periods. Raises `Unknown`."""
    async with store.transaction() as connection:
        account = await people.account(connection, account_id)
        periods = await _periods(connection, account, at_ms)
        slices = [one for period in periods for one in period.slices]
        used = iter(await count_in_slices(connection, "count_usage", account_id, slices))
        open_now = iter(await count_in_slices(connection, "count_open", account_id, slices))
        bots = []
        for period in periods:
            counts = [Count(one, next(used), next(open_now)) for one in period.slices]
            bots.append(_bot_usage(account, period, counts, at_ms))
        return AccountUsage(account, at_ms, tuple(bots), await reports.feed_standing(connection))


async def usage_by_day(store: Store, account_id: str, at_ms: int) -> list[DayUsage]:
    """The same by the days of the account's zone that have begun. Raises `Unknown`."""
    async with store.transaction() as connection:
        account = await people.account(connection, account_id)
        here = zone(zone_at(account.zones, at_ms))
        spans = [
            (period.subscription.bot_id, day)
            for period in await _periods(connection, account, at_ms)
            for day in days(period.standing.period, here)
            if day.from_ms <= at_ms
        ]
        counts = await count(connection, "count_usage", account_id, spans)
    return [
        DayUsage(bot_id, anchor_wall(day.from_ms, here).date(), day, used)
        for (bot_id, day), used in zip(spans, counts, strict=True)
    ]


async def _periods(connection: Connection, account: Account, at_ms: int) -> list[_Period]:
    """Live subscriptions and the period of a moment, also where no run has ended those before it."""
    found = []
    for subscription in await contracts.subscriptions(connection, account.account_id):
        standing = subscription.standing
        while not standing.is_over and standing.period.to_ms <= at_ms:
            standing = end_period(standing, account.zones).after
        if standing.is_over or at_ms < subscription.started_ms:
            continue
        slices = await _slices(connection, subscription, standing)
        found.append(_Period(subscription, standing, tuple(slices)))
    return found


async def _slices(connection: Connection, subscription: Subscription, standing: Standing) -> Sequence[Slice]:
    """The terms over the period: those of the store, or of one that no run has begun yet."""
    period = standing.period
    if standing == subscription.standing:
        return await contracts.slices_in(connection, subscription, period, period)
    return [Slice(subscription.bot_id, standing.plan.terms, period, period, standing.is_trial)]


def _bot_usage(account: Account, period: _Period, counts: Sequence[Count], at_ms: int) -> BotUsage:
    lines = [line for count in counts for line in rate(count.slice, count.used, account.tax_percent)]
    subscription = period.subscription
    return BotUsage(
        *(subscription.bot_id, subscription.bot_name or subscription.bot_id, period.standing),
        *(tuple(usage(counts, at_ms)), tuple(lines)),
    )


async def _found(connection: Connection, name: str) -> Invoice:
    found = await reports.invoices(connection, name=name)
    if not found:
        raise Unknown(f"there is no invoice {name!r}: `quarterhour invoices list` lists those there are")
    return found[0]


async def _known(connection: Connection, account_id: str | None) -> None:
    if account_id is not None:
        await people.account(connection, account_id)
