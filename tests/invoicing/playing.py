"""Playing a scenario into a real store, and what is invoiced then, in the reference's form."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from decimal import Decimal
from typing import Any

import asyncpg

from invoicing.catalogue import Plan, plan_of
from invoicing.errors import InvoicingError
from invoicing.model import Account, Party, Seller
from invoicing.money import major
from invoicing.paying import give_credit, mark_paid
from invoicing.store import accounts as people
from invoicing.store.connecting import Store
from invoicing.subscribing import Act
from tests.invoicing.reference import Scenario, invoices, plain
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import in_ms
from tests.invoicing.world import run

_LINES = """
select i.invoice_id, i.account_id, i.kind, lower(i.during) as from_at, upper(i.during) as to_at, i.issued_at,
       i.currency, i.total_minor, l.kind as line_kind, basis, bot_id, plan_id, plan_version,
       lower(l.during) as line_from, upper(l.during) as line_to, quantity, unit_price, tax_percent,
       amount_minor, array(select session_id::text from unnest(records || removed)) as session_ids
from invoicing.invoice i join invoicing.invoice_line l using (invoice_id)
where status <> 'draft' order by number_year, number_in_year, line_number
"""
_UNPAID = """
select number, total_minor - paid_minor from invoicing.invoice
where status = 'final' and total_minor > paid_minor
"""


async def play(scenario: Scenario, store: Store, stream: Stream, grace_ms: int, look_at: list[int]) -> None:
    """Have everything happen in its order, with a run at each of these times."""
    await _set_up(scenario, store)
    moments: list[tuple[int, int, Any]] = [
        *((change["known_ms"], 0, change) for change in scenario["changes"]),
        *((credit["at_ms"], 1, (number, credit)) for number, credit in enumerate(scenario["credits"])),
        *((act["at_ms"], 2, act) for act in scenario["acts"]),
        *((at_ms, 3, None) for at_ms in look_at),
    ]
    account_id = scenario["account"]["account_id"]
    records: list[Record] = []
    for at_ms, order, what in sorted(moments, key=lambda moment: moment[:2]):
        if order == 0:
            records.append(_record(account_id, what))
        elif order == 1:
            number, credit = what
            amount_minor, reason = credit["amount_minor"], credit["reason"]
            await give_credit(
                store, account_id, amount_minor, reason, f"credit {number}", at_ms=at_ms, actor="ada"
            )
        elif order == 2:
            act = Act(store, account_id, what["bot_id"], at_ms, "ada", confirmed=True)
            # An enterprise account's plans cost nothing, so what was made up for it is not always a change.
            with suppress(InvoicingError) if scenario["account"]["kind"] == "enterprise" else nullcontext():
                await _do(act, what)
        else:
            await _write(stream, records)
            records = []
            await stream.reach(at_ms)
            await run(store, at_ms, grace_ms)
            await _pay(store, stream.connection, at_ms)


async def issued(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    """All issued invoices, in the order of their numbers, as the reference gives them."""
    found: dict[Any, dict[str, Any]] = {}
    for row in await connection.fetch(_LINES):
        invoice = found.setdefault(row["invoice_id"], _invoice(row))
        invoice["rows"].append((_line(row), sorted(set(row["session_ids"]))))
    for invoice in found.values():
        rows = sorted(invoice.pop("rows"))
        invoice["lines"], invoice["sessions"] = [line for line, _ in rows], [ids for _, ids in rows]
    return list(found.values())


def look_at(scenario: Scenario, grace_ms: int) -> tuple[list[dict[str, Any]], list[int]]:
    """What the reference says is invoiced, and when; the end of it all among the times."""
    expected = invoices(scenario, scenario["until_ms"], grace_ms)
    return expected, sorted({scenario["until_ms"], *(invoice["made_ms"] for invoice in expected)})


def _record(account_id: str, change: dict[str, Any]) -> Record:
    return Record(
        *(change["session_id"], change["started_ms"], account_id, change["bot_id"], change["kind"]),
        *(change["status"], change["ended_ms"]),
    )


async def _write(stream: Stream, records: list[Record]) -> None:
    """In as few commits as can be: a record that changes twice does so in two."""
    while records:
        now = {record.name: record for record in reversed(records)}
        await stream.write(now.values())
        kept = set(map(id, now.values()))
        records = [record for record in records if id(record) not in kept]


async def _pay(store: Store, connection: asyncpg.Connection, at_ms: int) -> None:
    """Pay what is to be paid: who does not cannot change plans."""
    for number, due_minor in await connection.fetch(_UNPAID):
        await mark_paid(store, number, due_minor, "by bank", at_ms=at_ms, actor="bank")


async def _do(act: Act, what: dict[str, Any]) -> None:
    if what["act"] == "subscribe":
        await act.subscribe(what["plan_id"], what["version"])
    elif what["act"] == "change":
        await act.change(what["plan_id"], what["version"])
    elif what["act"] == "withdraw":
        await act.withdraw()
    else:
        await act.cancel(now=what["act"] == "cancel_now")


async def _set_up(scenario: Scenario, store: Store) -> None:
    account, seller = scenario["account"], scenario["seller"]
    party = Party(account["name"], (), "DE", "")
    async with store.transaction() as connection:
        sold_by = Party(seller["name"], (), seller["country"], "DE1")
        await people.put_seller(connection, Seller(seller["seller_id"], sold_by, seller["zone"], "S", 14))
        for plan in scenario["plans"]:
            await people.add_plan(connection, _plan(plan, account), "tests")
        tax_percent = Decimal(account["tax_percent"])
        await people.put_account(
            connection,
            Account(
                *(account["account_id"], seller["seller_id"], party, tax_percent, account["currency"]),
                account["kind"],
            ),
        )
        for move in [{"at_ms": 0, "zone": account["zone"]}, *account["moves"]]:
            await people.put_zone(connection, account["account_id"], move["at_ms"], move["zone"])


def _plan(plan: dict[str, Any], account: dict[str, Any]) -> Plan:
    kind = "paid" if plan["price_minor"] else "free"
    fields: dict[str, Any] = {
        **{"id": plan["plan_id"], "version": plan["version"], "name": plan["name"], "unit": plan["unit"]},
        **{"kind": kind, "currency": plan["currency"], "included": plan["included"]},
        **{"may_go_beyond": False, "offerings": [{"name": "a", "value": "b"}]},
    }
    if account["kind"] == "enterprise":
        return plan_of(fields | {"kind": "contract"})
    if kind == "paid":
        fields["price"] = str(major(plan["price_minor"], plan["currency"]))
        fields["trial_days"] = plan["trial_days"]
        fields["after_trial"] = "active" if plan["trial_days"] else None
    if any(plan["tiers"].values()):
        fields["may_go_beyond"] = True
        fields["tiers"] = {
            of: [{"up_to": tier["up_to"], "price": tier["unit_price"]} for tier in tiers]
            for of, tiers in plan["tiers"].items()
        }
    return plan_of({name: value for name, value in fields.items() if value is not None})


def _invoice(row: asyncpg.Record) -> dict[str, Any]:
    return {
        **{"account": row["account_id"], "kind": row["kind"], "currency": row["currency"]},
        **{
            "from_ms": in_ms(row["from_at"]),
            "to_ms": in_ms(row["to_at"]),
            "made_ms": in_ms(row["issued_at"]),
        },
        **{"total_minor": row["total_minor"], "rows": []},
    }


def _line(row: asyncpg.Record) -> tuple[Any, ...]:
    """A line as the reference has it: it tells neither quantity nor unit price of a plan's price."""
    counted = row["line_kind"] != "price"
    priced = counted and row["unit_price"] is not None
    ends = [0 if row[end] is None else in_ms(row[end]) for end in ("line_from", "line_to")]
    return (
        *(
            row["line_kind"],
            row["basis"],
            row["bot_id"] or "",
            row["plan_id"] or "",
            row["plan_version"] or 0,
        ),
        *(*ends, row["quantity"] if counted else 0, plain(str(row["unit_price"])) if priced else ""),
        *(plain(str(row["tax_percent"])), row["amount_minor"]),
    )


def differences(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """What one has and the other has not: invoices, lines, records."""
    here, there = _facts(expected), _facts(found)
    missing = [f"expected: {fact}" for fact in here if fact not in there]
    surplus = [f"found: {fact}" for fact in there if fact not in here]
    order = [invoice["made_ms"] for invoice in expected] == [invoice["made_ms"] for invoice in found]
    return missing + surplus + ([] if order else ["invoices were made in another order"])


def _facts(invoices: list[dict[str, Any]]) -> dict[str, None]:
    """Every line with its invoice and its records, as text."""
    names = ("account", "kind", "from_ms", "to_ms", "made_ms", "currency", "total_minor")
    return {
        f"{[invoice[name] for name in names]} {line} {ids}": None
        for invoice in invoices
        for line, ids in zip(invoice["lines"], invoice["sessions"], strict=True)
    }
