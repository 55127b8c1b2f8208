"""`quarterhour catalogue`: what is sold, by whom and at what price."""

from pathlib import Path
from typing import Any

import click

from invoicing import reading
from invoicing.applying import apply_catalogue
from invoicing.catalogue import Plan, read_catalogue, shipped
from invoicing.errors import WrongCatalogue
from quarterhour.aggregator import actor_option, at_option, translated, with_store
from quarterhour.errors import WrongInput
from quarterhour.output import emit, format_option

SHOWN = [
    "plan",
    "version",
    "name",
    "kind",
    "currency",
    "price",
    "unit",
    "usage",
    "alert",
    "beyond",
    "trial_days",
]


@click.group()
def command() -> None:
    """Apply and show the catalogue of plans.

    Example:

    \b
      quarterhour catalogue apply --shipped
    """


@command.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--shipped", "is_shipped", is_flag=True, help="Apply the catalogue that comes with Quarterhour."
)
@actor_option
@at_option
@format_option
def apply(file: Path | None, is_shipped: bool, actor: str, at_ms: int, output_format: str) -> None:
    """Apply a catalogue: a TOML file with a seller and its plans.

    New plan versions are added; one that is there already must have the same content, for a version is never
    changed. The seller is brought up to date. Prices are decimal numbers in quotes, in major units.

    Example:

    \b
      quarterhour catalogue apply plans.toml --actor ada
    """
    if (file is None) != is_shipped:
        raise click.UsageError("either a FILE or --shipped")
    try:
        catalogue = read_catalogue(shipped() if file is None else _read(file))
    except WrongCatalogue as error:
        raise translated(error) from error
    applied = with_store(lambda store: apply_catalogue(store, catalogue, at_ms=at_ms, actor=actor))
    rows = [
        {"plan": one.plan.id, "version": one.plan.version, "done": "added" if one.is_new else "was there"}
        for one in applied
    ]
    emit(output_format, rows)


@command.command()
@format_option
def show(output_format: str) -> None:
    """Show all plans that were applied, with every version.

    Prices are in major units of the currency; `usage` and `alert` are the sessions that a period includes.

    Example:

    \b
      quarterhour catalogue show --format table
    """
    emit(output_format, [_row(plan) for plan in with_store(reading.plans)], SHOWN)


def _row(plan: Plan) -> dict[str, Any]:
    told = plan.model_dump(mode="json")
    return {
        "plan": told.pop("id"),
        **told,
        "usage": plan.included.usage,
        "alert": plan.included.alert,
        "beyond": _tiers(plan),
    }


def _tiers(plan: Plan) -> str:
    if plan.tiers is None:
        return "not sold"
    return f"usage from {plan.tiers.usage[-1].price:f}, alert from {plan.tiers.alert[-1].price:f}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongInput(f"cannot read {file}: {error}") from None
