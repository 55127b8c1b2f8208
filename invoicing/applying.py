"""Catalogues and accounts as people set them: checked against what is there, recorded with who and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from babel import Locale

from invoicing.catalogue import Catalogue, Plan, fingerprint
from invoicing.errors import Conflict, InvoicingError, NotAllowed, Unknown
from invoicing.model import Account, Party
from invoicing.money import minor_digits
from invoicing.store import accounts as people
from invoicing.store import subscriptions as contracts
from invoicing.store.connecting import Connection, Store
from invoicing.zones import zone


@dataclass(frozen=True, slots=True)
class Applied:
    """A plan version of a catalogue, and whether it was new."""

    plan: Plan
    is_new: bool


@dataclass(frozen=True, slots=True)
class AccountFields:
    """What is to be set of an account; None leaves it as it is, and a new account needs most of it."""

    name: str | None = None
    address: tuple[str, ...] | None = None
    country: str | None = None
    tax_id: str | None = None
    tax_percent: Decimal | None = None
    currency: str | None = None
    plan_kind: Literal["standard", "enterprise"] | None = None
    seller_id: str | None = None

    def given(self, *names: str) -> dict[str, Any]:
        """Those of these fields that are given."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


async def apply_catalogue(store: Store, catalogue: Catalogue, *, at_ms: int, actor: str) -> list[Applied]:
    """Add what is new of a catalogue; a plan version that is there already must be the same.

    Raises `Conflict`, which names every version that differs.
    """
    async with store.transaction() as connection:
        known = {(plan.id, plan.version): fingerprint(plan) for plan in await people.plans(connection)}
        _refuse_other_content(catalogue, known)
        applied = [Applied(plan, (plan.id, plan.version) not in known) for plan in catalogue.plans]
        await people.put_seller(connection, catalogue.seller)
        for one in applied:
            if one.is_new:
                await people.add_plan(connection, one.plan, actor)
        added = [f"{one.plan.id} {one.plan.version}" for one in applied if one.is_new]
        details = {"seller": catalogue.seller.seller_id, "added": added}
        await people.record_action(
            connection, "apply_catalogue", as_of_ms=at_ms, actor=actor, details=details
        )
    return applied


async def set_account(
    store: Store,
    account_id: str,
    fields: AccountFields,
    *,
    time_zone: str | None,
    zone_from_ms: int | None,
    at_ms: int,
    actor: str,
) -> Account:
    """Add an account or change what is given of it; a new time zone is a move, from a moment on.

    The zone of a new account holds from the beginning. Raises `InvoicingError`, `NotAllowed` and `Conflict`.
    """
    _check(fields, time_zone)
    async with store.transaction() as connection:
        before = await people.lock_account_if_there(connection, account_id)
        moves = _moves(before, time_zone, at_ms if zone_from_ms is None else zone_from_ms)
        account = _changed(before, fields) if before else _new(account_id, fields, moves)
        seller_id = await _seller(connection, account.seller_id)
        if before and before.plan_kind != account.plan_kind:
            await _refuse_while_subscribed(connection, account_id)
        await people.put_account(connection, replace(account, seller_id=seller_id))
        for from_ms, name in moves:
            await people.put_zone(connection, account_id, from_ms, name)
        await people.record_action(
            connection,
            "set_account",
            as_of_ms=at_ms,
            actor=actor,
            account_id=account_id,
            details=_details(fields, moves),
        )
        return await people.account(connection, account_id)


def known_country(code: str) -> str:
    """Give the code back if it is a country's (ISO 3166, two letters)."""
    if len(code) != 2 or code not in Locale("en").territories or code in ("EU", "EZ", "UN", "ZZ"):
        raise InvoicingError(
            f"there is no country {code!r}: two letters of ISO 3166 are needed, such as DE", "unknown_country"
        )
    return code


def _refuse_other_content(catalogue: Catalogue, known: dict[tuple[str, int], str]) -> None:
    other = [
        f"plan {plan.id!r} version {plan.version}"
        for plan in catalogue.plans
        if known.get((plan.id, plan.version), fingerprint(plan)) != fingerprint(plan)
    ]
    if other:
        raise Conflict(
            f"{', '.join(other)}: applied before with other content, and never changed: add a new version",
            "plan_differs",
        )


def _check(fields: AccountFields, time_zone: str | None) -> None:
    texts = [text for text in (fields.name, *(fields.address or ())) if text is not None]
    if not all(text and text.isprintable() and text == text.strip() for text in texts):
        raise InvoicingError(
            "name and address are lines of printable text, none of them empty", "wrong_account"
        )
    if fields.country is not None:
        known_country(fields.country)
    if fields.currency is not None:
        minor_digits(fields.currency)
    if time_zone is not None:
        zone(time_zone)
    percent = fields.tax_percent
    if percent is not None and (not 0 <= percent <= 100 or percent != round(percent, 3)):
        raise InvoicingError(
            f"{percent} is no tax rate: 0 to 100 percent, three decimals at most", "wrong_account"
        )


def _new(account_id: str, fields: AccountFields, moves: list[tuple[int, str]]) -> Account:
    needed = ("name", "address", "country", "tax_percent", "currency")
    missing = [name for name in needed if getattr(fields, name) is None] + ["zone"] * (not moves)
    if missing:
        raise InvoicingError(
            f"{account_id!r} is a new account: it needs {', '.join(missing)}", "wrong_account"
        )
    blank = Account(account_id, "", Party("", (), "", ""), Decimal(), fields.currency or "", "standard")
    return _changed(blank, fields)


def _changed(account: Account, fields: AccountFields) -> Account:
    """The account with what is given; its currency stays."""
    if fields.currency not in (None, account.currency):
        raise Conflict(
            f"account {account.account_id} is in {account.currency}: an account's currency cannot change",
            "currency_fixed",
        )
    party = replace(account.party, **fields.given("name", "address", "country", "tax_id"))
    return replace(account, party=party, **fields.given("tax_percent", "plan_kind", "seller_id"))


async def _seller(connection: Connection, seller_id: str) -> str:
    """The seller that is named, or the only one."""
    if seller_id:
        return (await people.seller(connection, seller_id)).seller_id
    sellers = await people.sellers(connection)
    if len(sellers) != 1:
        known = ", ".join(sellers) or "none, apply a catalogue"
        raise Unknown(f"which seller is meant? There are: {known}")
    return sellers[0]


async def _refuse_while_subscribed(connection: Connection, account_id: str) -> None:
    live = [
        one.bot_id
        for one in await contracts.subscriptions(connection, account_id)
        if not one.standing.is_over
    ]
    if live:
        raise NotAllowed(f"the plan kind cannot change while bots are subscribed: {', '.join(live)}")


def _moves(before: Account | None, time_zone: str | None, from_ms: int) -> list[tuple[int, str]]:
    """What is to be added to an account's time zones."""
    if time_zone is None:
        return []
    if before is None:
        return [(0, time_zone)]
    last_ms, last = before.zones[-1]
    if time_zone == last:
        return []
    moment_ms = from_ms // 1000 * 1000
    if moment_ms <= last_ms:
        raise NotAllowed("an account moves to another time zone after its last move, not before it")
    return [(moment_ms, time_zone)]


def _details(fields: AccountFields, moves: list[tuple[int, str]]) -> dict[str, Any]:
    given = fields.given(*AccountFields.__slots__) | ({"time_zone": moves[0][1]} if moves else {})
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in given.items()}
