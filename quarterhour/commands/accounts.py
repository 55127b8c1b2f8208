"""`quarterhour accounts`: who buys, and who did what."""

from decimal import Decimal
from typing import Any, Literal

import click

from invoicing import reading
from invoicing.applying import AccountFields, known_country, set_account
from invoicing.model import Account
from invoicing.money import minor_digits
from invoicing.zones import zone
from quarterhour.aggregator import (
    PERCENT,
    TIME,
    Checked,
    actor_option,
    now_ms,
    percent_text,
    time_text,
    with_store,
)
from quarterhour.output import emit, format_option

SHOWN = [
    "account_id",
    "name",
    "country",
    "tax_id",
    "tax_percent",
    "currency",
    "time_zone",
    "plan_kind",
    "seller_id",
]
SHOWN_HISTORY = ["acted_at", "as_of", "actor", "event", "bot_id", "subject", "details"]


@click.group()
def command() -> None:
    """Set and list accounts, and show their history.

    Example:

    \b
      quarterhour accounts list
    """


def _country(code: str) -> str:
    return known_country(code.upper())


def _currency(code: str) -> str:
    minor_digits(code.upper())
    return code.upper()


def _zone(name: str) -> str:
    return zone(name).key


@command.command("set")
@click.argument("account_id", metavar="ID")
@click.option("--name", help="Whom invoices are addressed to.")
@click.option("--address", multiple=True, help="A line of the billing address; once for each line.")
@click.option("--country", type=Checked("country", _country), help="Two letters of ISO 3166, such as DE.")
@click.option("--tax-id", help="Tax id, as it stands on invoices.")
@click.option("--tax-percent", type=PERCENT, help="Tax rate in percent, such as 19 or 8.875.")
@click.option("--currency", type=Checked("currency", _currency), help="Code of ISO 4217; it never changes.")
@click.option("--zone", "time_zone", type=Checked("zone", _zone), help="Time zone by its IANA name.")
@click.option("--from", "zone_from_ms", type=TIME, help="When the account moves to --zone. Default: now.")
@click.option(
    "--plan-kind",
    type=click.Choice(["standard", "enterprise"]),
    help="An enterprise account is metered and never invoiced. Default: standard.",
)
@click.option("--seller", "seller_id", help="Who sells to it. Default: the only seller there is.")
@actor_option
@format_option
def set_(
    account_id: str,
    name: str | None,
    address: tuple[str, ...],
    country: str | None,
    tax_id: str | None,
    tax_percent: Decimal | None,
    currency: str | None,
    time_zone: str | None,
    zone_from_ms: int | None,
    plan_kind: Literal["standard", "enterprise"] | None,
    seller_id: str | None,
    actor: str,
    output_format: str,
) -> None:
    """Add an account, or change what is given of it.

    ID is the account_id that events carry. A new account needs name, country, tax rate, currency and zone. A
    change of zone tells from the next billing period on. What was issued stays as it is.

    Example:

    \b
      quarterhour accounts set acme --name "Acme Ltd" --address "1 Road" --address "London" --country GB \\
        --tax-percent 20 --currency USD --zone Europe/London
    """
    if zone_from_ms is not None and time_zone is None:
        raise click.UsageError("--from goes with --zone")
    fields = AccountFields(
        *(name, address or None, country, tax_id, tax_percent, currency, plan_kind, seller_id)
    )
    account = with_store(
        lambda store: set_account(
            store,
            account_id,
            fields,
            time_zone=time_zone,
            zone_from_ms=zone_from_ms,
            at_ms=now_ms(),
            actor=actor,
        )
    )
    emit(output_format, [_row(account)], SHOWN)


@command.command("list")
@format_option
def list_(output_format: str) -> None:
    """List all accounts.

    Example:

    \b
      quarterhour accounts list --format table
    """
    emit(output_format, [_row(account) for account in with_store(reading.accounts)], SHOWN)


@command.command()
@click.argument("account_id", metavar="ID")
@format_option
def history(account_id: str, output_format: str) -> None:
    """Show who did what with an account, and when.

    `as_of` is the moment at which an act takes effect, `acted_at` when it was done. Times are UTC.

    Example:

    \b
      quarterhour accounts history acme
    """
    actions = with_store(lambda store: reading.history(store, account_id))
    times = ("acted_at", "as_of")
    rows = [{**action, **{name: time_text(action[name]) for name in times}} for action in actions]
    emit(output_format, rows, SHOWN_HISTORY)


def _row(account: Account) -> dict[str, Any]:
    party = account.party
    return {
        "account_id": account.account_id,
        "name": party.name,
        "address": list(party.address),
        "country": party.country,
        "tax_id": party.tax_id,
        "tax_percent": percent_text(account.tax_percent),
        "currency": account.currency,
        "time_zone": account.zones[-1][1] if account.zones else None,
        "zones": [{"from": time_text(from_ms), "time_zone": name} for from_ms, name in account.zones],
        "plan_kind": account.plan_kind,
        "seller_id": account.seller_id,
    }
