"""The aggregator's world in few words: plans, accounts, acts, runs; and all that a database says of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import asyncpg

from invoicing.catalogue import Plan, plan_of
from invoicing.model import Account, Party, Seller
from invoicing.run import Run, Summary
from invoicing.store import accounts as people
from invoicing.store.connecting import Store
from invoicing.subscribing import Act

SELLER = Seller("qh", Party("Seller GmbH", ("Weg 1",), "DE", "DE1"), "Europe/Berlin", "QH", 14)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
GRACE_MS = DAY_MS

# What another moment or another number of tries makes different, and nothing else may.
_VOLATILE = {"acted_at", "action_id", "applied_at", "given_at", "credit_id"}
_TABLES = """
select table_name, array_agg(column_name::text order by ordinal_position) as columns
from information_schema.columns
where table_schema = 'invoicing' and table_name <> 'schema_migration'
group by 1 order by 1
"""


def plan(**changed: object) -> Plan:
    """A paid monthly plan of 31.00 EUR with two usage sessions; None takes a field away."""
    fields: dict[str, object] = {
        **{"id": "standard", "version": 1, "name": "Standard", "kind": "paid", "currency": "EUR"},
        **{"unit": "month", "price": "31.00", "included": {"usage": 2, "alert": 0}, "may_go_beyond": True},
        "tiers": {"usage": [{"up_to": 2, "price": "0.50"}, {"price": "0.25"}], "alert": [{"price": "0.1"}]},
        "offerings": [{"name": "Usage sessions", "value": "2"}],
    }
    return plan_of({name: value for name, value in (fields | changed).items() if value is not None})


def free_plan() -> Plan:
    return plan(id="free", kind="free", price=None, may_go_beyond=False, tiers=None)


async def open_books(store: Store, *plans: Plan, seller: Seller = SELLER) -> None:
    async with store.transaction() as connection:
        await people.put_seller(connection, seller)
        for one in plans:
            await people.add_plan(connection, one, "tests")


async def add_account(store: Store, account_id: str = "acme", zone: str = "UTC", **changed: Any) -> None:
    party = Party(changed.pop("name", f"{account_id} Inc"), ("Street 2",), "FR", "FR2")
    fields = {"seller_id": "qh", "tax_percent": Decimal("20"), "currency": "EUR", "plan_kind": "standard"}
    account = Account(account_id=account_id, party=party, **(fields | changed))
    async with store.transaction() as connection:
        await people.put_account(connection, account)
        await people.put_zone(connection, account_id, 0, zone)


def act(store: Store, at_ms: int, bot_id: str = "sales", account_id: str = "acme") -> Act:
    return Act(store, account_id, bot_id, at_ms, "ada", confirmed=True)


async def run(store: Store, as_of_ms: int, grace_ms: int = GRACE_MS) -> Summary:
    """A run of which nothing failed but what holds an invoice."""
    summary = await Run(store, as_of_ms, grace_ms).all()
    assert not summary.failures
    return summary


async def lines(connection: asyncpg.Connection, number: str) -> list[tuple[Any, ...]]:
    """Kind, basis, bot, quantity, amount and number of records of an invoice's lines."""
    rows = await connection.fetch(
        "select l.kind, basis, bot_id, quantity, amount_minor, cardinality(records) as records "
        "from invoicing.invoice_line l join invoicing.invoice using (invoice_id) "
        "where number = $1 order by line_number",
        number,
    )
    return [tuple(row) for row in rows]


async def everything(connection: asyncpg.Connection) -> dict[str, list[str]]:
    """All rows of the aggregator's tables, sorted, but for what tells one try from another."""
    found = {}
    for table, columns in await connection.fetch(_TABLES):
        kept = ", ".join(f'"{column}"' for column in columns if column not in _VOLATILE)
        rows = await connection.fetch(f"select row({kept})::text as row from invoicing.{table} order by 1")
        found[table] = [row["row"] for row in rows]
    return found
