"""The demo's second half: an account for its traffic, subscriptions in the past, and the invoice of a period.

Every session record of the account in that period must be behind a line of the invoice, and nothing else may:
`Invoiced.adds_up` tells.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

from invoicing import reading
from invoicing.applying import AccountFields, apply_catalogue, set_account
from invoicing.catalogue import read_catalogue, shipped
from invoicing.changes import DAY_MS
from invoicing.errors import InvoicingError
from invoicing.model import LineKind
from invoicing.money import shown
from invoicing.periods import anchor_wall, boundary
from invoicing.run import Run
from invoicing.store.connecting import Store
from invoicing.store.reports import Invoice
from invoicing.store.subscriptions import Subscription
from invoicing.subscribing import Act
from invoicing.zones import zone
from quarterhour.aggregator import time_text
from quarterhour.errors import AnswerIsNo
from sinks.views import read_session_records

ACTOR = "quarterhour demo"
ACCOUNT = "acme"
FIELDS = AccountFields(
    name="Acme Widgets Ltd",
    address=("12 Foundry Lane", "Sheffield S1 2AB"),
    country="GB",
    tax_id="GB 123 4567 89",
    tax_percent=Decimal(20),
    currency="USD",
)
ZONE = "UTC"
PLANS = {"returns": "standard", "sales": "standard", "support": "advanced"}
"""The plan of each bot that the traffic has of this account."""


@dataclass(frozen=True, slots=True)
class Invoiced:
    """The demo's invoice, the sessions on its lines, and those that the ledger has of its period."""

    invoice: Invoice
    lines_minor: int
    on_lines: Counter[str]
    behind_lines: frozenset[str]
    in_ledger: Counter[str]
    ledger_ids: frozenset[str]
    pdf: Path

    @property
    def adds_up(self) -> bool:
        """Whether its lines are its total, and its sessions those of the ledger, each once."""
        return (
            self.lines_minor == self.invoice.total_minor
            and self.on_lines == self.in_ledger
            and self.behind_lines == self.ledger_ids
        )

    def summary(self) -> dict[str, object]:
        """What the demo tells of it."""
        during = self.invoice.during
        return {
            "invoice": self.invoice.name,
            "period": f"{ACCOUNT}, {time_text(during.from_ms)} to {time_text(during.to_ms)}",
            "sum of its lines": shown(self.lines_minor, self.invoice.currency),
            "sessions on its lines": dict(sorted(self.on_lines.items())),
            "sessions of the ledger": dict(sorted(self.in_ledger.items())),
            "PDF": str(self.pdf),
        }


async def invoice_traffic(
    store: Store, dsn: str, ends_ms: int, now_ms: int, grace_ms: int, folder: Path
) -> Invoiced:
    """Invoice the demo's account for the period that ends then. Raises `InvoicingError` and `AnswerIsNo`."""
    ends_ms = ends_ms // 1000 * 1000
    await _enroll(store, ends_ms, now_ms)
    summary = await Run(store, now_ms, grace_ms).all()
    for one in await reading.invoices(store, ACCOUNT):
        if one.kind == "period" and one.during.to_ms == ends_ms and one.number:
            return await _invoiced(store, dsn, one, folder)
    raise AnswerIsNo(f"the demo's period was not invoiced: held {dict(summary.held)}, {summary.failures}")


async def _enroll(store: Store, ends_ms: int, now_ms: int) -> None:
    """Have the account's bots in subscriptions of which a period ends at that moment."""
    await apply_catalogue(store, read_catalogue(shipped()), at_ms=now_ms, actor=ACTOR)
    if ACCOUNT not in [account.account_id for account in await reading.accounts(store)]:
        await set_account(
            *(store, ACCOUNT, FIELDS), time_zone=ZONE, zone_from_ms=None, at_ms=now_ms, actor=ACTOR
        )
    had = {one.bot_id: one for one in await reading.subscriptions(store, ACCOUNT)}
    trial_ms = {plan.id: plan.trial_days * DAY_MS for plan in await reading.plans(store)}
    try:
        for bot_id, plan_id in PLANS.items():
            await _subscribe(store, bot_id, plan_id, had.get(bot_id), ends_ms, trial_ms[plan_id])
    except InvoicingError as error:
        raise AnswerIsNo(
            f"{error}; the subscriptions are not those of an earlier demo: `quarterhour down --wipe` empties "
            "the home folder, for a demo from the start"
        ) from error


async def _subscribe(
    store: Store, bot_id: str, plan_id: str, had: Subscription | None, ends_ms: int, trial_ms: int
) -> None:
    """For the first time so that its trial and one period are over then; again, from then on."""
    at_ms = ends_ms if had else _month_before(ends_ms) - trial_ms
    act = Act(store, ACCOUNT, bot_id, at_ms, ACTOR, confirmed=True)
    if had and not had.standing.is_over:
        await act.cancel(now=True)
    await act.subscribe(plan_id)


def _month_before(ends_ms: int) -> int:
    """The nearest anchor of which this is a boundary: of the 31st one or two months before."""
    here = zone(ZONE)
    for months in count(1):
        anchor_ms = _months_from(ends_ms, -months, here)
        if _months_from(anchor_ms, months, here) == ends_ms:
            return anchor_ms
    raise AssertionError


def _months_from(at_ms: int, months: int, here: ZoneInfo) -> int:
    return boundary(anchor_wall(at_ms, here), "month", months, here)


async def _invoiced(store: Store, dsn: str, invoice: Invoice, folder: Path) -> Invoiced:
    details = await reading.invoice(store, invoice.name)
    on_lines: Counter[str] = Counter()
    for line in details.lines:
        if line.kind in (LineKind.USAGE, LineKind.ALERT):
            on_lines[line.kind] += line.quantity
    behind = [record for record in await reading.records(store, invoice.name) if record.change is None]
    during = {"from_time": _at(invoice.during.from_ms), "to_time": _at(invoice.during.to_ms)}
    in_ledger = read_session_records(dsn, account_id=ACCOUNT, status="final", **during)
    records = [record async for record in in_ledger]
    pdf = folder / f"{invoice.name}.pdf"
    pdf.write_bytes((await reading.document(store, invoice.name)).pdf)
    return Invoiced(
        invoice,
        sum(line.amount_minor for line in details.lines),
        on_lines,
        frozenset(str(record.session_id) for record in behind),
        Counter(record["kind"] for record in records),
        frozenset(record["session_id"] for record in records),
        pdf,
    )


def _at(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1000, UTC)
