"""Runs of the aggregator on a real store: what is invoiced, when, and what is held."""

from __future__ import annotations

from decimal import Decimal

from invoicing.catalogue import Plan, plan_of
from invoicing.model import Account, Party, Seller
from invoicing.run import Run, Summary
from invoicing.store import accounts as people
from invoicing.store.connecting import Store
from invoicing.subscribing import Act
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import ms

SELLER = Seller("qh", Party("Seller GmbH", ("Weg 1", "10115 Berlin"), "DE", "DE1"), "Europe/Berlin", "QH", 14)
HOUR_MS = 3_600_000
GRACE_MS = 24 * HOUR_MS
STARTS, ENDS = ms("2026-01-15"), ms("2026-02-15")


def plan(**changed: object) -> Plan:
    fields: dict[str, object] = {
        **{
            "id": "standard",
            "version": 1,
            "name": "Standard",
            "kind": "paid",
            "currency": "EUR",
            "unit": "month",
        },
        **{"price": "31.00", "included": {"usage": 2, "alert": 0}, "may_go_beyond": True},
        "tiers": {"usage": [{"up_to": 2, "price": "0.50"}, {"price": "0.25"}], "alert": [{"price": "0.1"}]},
        "offerings": [{"name": "Usage sessions", "value": "2"}],
    }
    return plan_of({name: value for name, value in (fields | changed).items() if value is not None})


async def open_books(store: Store, *plans: Plan, account_id: str = "acme") -> None:
    async with store.transaction() as connection:
        await people.put_seller(connection, SELLER)
        for one in plans:
            await people.add_plan(connection, one, "tests")
        await add_account(store, account_id, connection)


async def add_account(store, account_id, connection) -> None:
    party = Party(f"{account_id} Inc", ("Street 2",), "FR", "FR2")
    account = Account(account_id, "qh", party, Decimal("20"), "EUR", "standard")
    await people.put_account(connection, account)
    await people.put_zone(connection, account_id, 0, "UTC")


def act(store: Store, at_ms: int, bot_id: str = "sales", account_id: str = "acme") -> Act:
    return Act(store, account_id, bot_id, at_ms, "ada", confirmed=True)


async def run(store: Store, as_of_ms: int) -> Summary:
    summary = await Run(store, as_of_ms, GRACE_MS).all()
    assert not summary.failures and "store_refuses" not in summary.held, await details(store)
    return summary


async def test_a_period_is_invoiced_once_it_is_over(store: Store, stream: Stream) -> None:
    await open_books(store, plan())
    await act(store, STARTS).subscribe("standard")
    await stream.write([Record(f"s{n}", STARTS + n * HOUR_MS) for n in range(5)])
    await stream.write([Record("before", STARTS - 1), Record("after", ENDS)])
    await stream.reach(ENDS)
    assert dict((await run(store, ENDS + GRACE_MS - 1)).held) == {"in_grace": 1}
    assert (await run(store, ENDS + GRACE_MS)).issued == 1
    assert (await run(store, ENDS + GRACE_MS)).issued == 0
    rows = await stream.connection.fetch(
        "select kind, basis, quantity, amount_minor, cardinality(records) as records "
        "from invoicing.invoice_line order by line_number"
    )
    assert [tuple(row) for row in rows] == [
        ("price", "price", 1, 3100, 0),
        ("usage", "included", 2, 0, 2),
        ("usage", "tier", 2, 100, 2),
        ("usage", "tier", 1, 25, 1),
        ("tax", "other", 0, 645, 0),
    ]


async def details(store):
    async with store.transaction() as connection:
        return await connection.fetch("select held_code, held_detail from invoicing.invoice")
