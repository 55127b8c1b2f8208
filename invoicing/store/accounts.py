"""Sellers, plans, accounts, bots, and who did what."""

from __future__ import annotations

import json
from typing import Any

from invoicing.catalogue import Plan, fingerprint, plan_of
from invoicing.errors import Unknown
from invoicing.model import Account, Party, Seller
from invoicing.store.connecting import Connection, Row, execute, fetch, fetch_row, fetch_value


async def put_seller(connection: Connection, seller: Seller) -> None:
    """Add a seller or bring it up to date; what was issued keeps its own copy."""
    party = seller.party
    await execute(
        *(connection, "put_seller", seller.seller_id, party.name, list(party.address), party.country),
        *(party.tax_id, seller.time_zone, seller.number_prefix, seller.payment_days),
    )


async def seller(connection: Connection, seller_id: str) -> Seller:
    """A seller by its id."""
    row = await fetch_row(connection, "seller", seller_id)
    if row is None:
        raise Unknown(f"there is no seller {seller_id!r}: apply a catalogue that names it")
    return Seller(row["seller_id"], _party(row), row["time_zone"], row["number_prefix"], row["payment_days"])


async def sellers(connection: Connection) -> list[str]:
    """The ids of all sellers."""
    return [row["seller_id"] for row in await fetch(connection, "seller", None)]


async def plans(connection: Connection, plan_id: str | None = None) -> list[Plan]:
    """All versions of all plans, or of one, by id and version."""
    return [plan_of(row["terms"]) for row in await fetch(connection, "plans", plan_id)]


async def plan(connection: Connection, plan_id: str, version: int | None = None) -> Plan:
    """A version of a plan; the newest if none is named."""
    for found in reversed(await plans(connection, plan_id)):
        if version in (None, found.version):
            return found
    known = [f"{plan.id} {plan.version}" for plan in await plans(connection)]
    asked = plan_id if version is None else f"{plan_id} version {version}"
    raise Unknown(f"there is no plan {asked!r}; there are: {', '.join(known) or 'none, apply a catalogue'}")


async def add_plan(connection: Connection, plan: Plan, actor: str) -> None:
    """Add a version of a plan."""
    await execute(connection, "put_plan", plan.id, plan.version, json.loads(fingerprint(plan)), actor)


async def put_account(connection: Connection, account: Account) -> None:
    """Add an account or bring it up to date, its time zones aside."""
    party = account.party
    await execute(
        *(connection, "put_account", account.account_id, account.seller_id, party.name, list(party.address)),
        *(party.country, party.tax_id, account.tax_percent, account.currency, account.plan_kind),
    )


async def put_zone(connection: Connection, account_id: str, at_ms: int, time_zone: str) -> None:
    """Have an account in this time zone from then on."""
    await execute(connection, "put_zone", account_id, at_ms, time_zone)


async def accounts(connection: Connection, account_id: str | None = None) -> list[Account]:
    """All accounts, or one if it is there."""
    return [_account(row) for row in await fetch(connection, "account", account_id)]


async def account(connection: Connection, account_id: str) -> Account:
    """An account by its id."""
    found = await accounts(connection, account_id)
    if not found:
        raise Unknown(
            f"there is no account {account_id!r}: `quarterhour accounts list` shows those there are"
        )
    return found[0]


async def lock_account(connection: Connection, account_id: str) -> Account:
    """The account, which nobody else changes, renews or invoices until the transaction ends."""
    await fetch_value(connection, "lock_account", account_id)
    return await account(connection, account_id)


async def lock_account_if_there(connection: Connection, account_id: str) -> Account | None:
    """The same, or None if there is no such account."""
    await fetch_value(connection, "lock_account", account_id)
    found = await accounts(connection, account_id)
    return found[0] if found else None


async def put_bot(connection: Connection, account_id: str, bot_id: str, name: str = "") -> int:
    """Add a published bot, or find it; return its key."""
    key: int = await fetch_value(connection, "put_bot", account_id, bot_id, name)
    return key


async def record_action(
    connection: Connection,
    event: str,
    *,
    as_of_ms: int,
    actor: str,
    account_id: str | None = None,
    bot_key: int | None = None,
    subject: str = "",
    details: dict[str, Any] | None = None,
) -> None:
    """Keep who did what, and when it takes effect."""
    await execute(
        connection, "record_action", as_of_ms, actor, event, account_id, bot_key, subject, details or {}
    )


async def actions(connection: Connection, account_id: str | None = None) -> list[dict[str, Any]]:
    """What was done, in order."""
    return [dict(row) for row in await fetch(connection, "actions", account_id)]


def _party(row: Row) -> Party:
    return Party(row["name"], tuple(row["address"]), row["country"], row["tax_id"])


def _account(row: Row) -> Account:
    return Account(
        *(row["account_id"], row["seller_id"], _party(row), row["tax_percent"], row["currency"]),
        row["plan_kind"],
        tuple(zip(row["moves_at"], row["zones"], strict=True)),
    )
