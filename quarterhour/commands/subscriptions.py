"""`quarterhour subscriptions`: which bot has which plan; every act is shown before it is confirmed."""

from collections.abc import Awaitable, Callable
from typing import Any

import click

from invoicing import reading
from invoicing.changes import Standing
from invoicing.store.subscriptions import Subscription
from invoicing.subscribing import Act, Outcome
from quarterhour.aggregator import (
    LINE_COLUMNS,
    TIME,
    F,
    actor_option,
    line_row,
    now_ms,
    time_text,
    with_amounts,
    with_store,
)
from quarterhour.errors import WrongInput
from quarterhour.output import TABLE, emit, emit_object, format_option

SHOWN = ["account_id", "bot_id", "plan", "plan_version", "state", "from", "to", "renews_at", "pending_plan"]


@click.group()
def command() -> None:
    """List subscriptions of bots, and change them.

    Example:

    \b
      quarterhour subscriptions subscribe --account acme --bot sales --plan standard --confirm
    """


@command.command("list")
@click.option("--account", help="Those of this account only.")
@format_option
def list_(account: str | None, output_format: str) -> None:
    """List subscriptions, those that are over too.

    `from` and `to` are the current billing period, or the last one; `renews_at` is empty for a free plan and
    for one that ends. Times are UTC.

    Example:

    \b
      quarterhour subscriptions list --account acme
    """
    found = with_store(lambda store: reading.subscriptions(store, account))
    emit(output_format, [_row(subscription) for subscription in found], SHOWN)


def act_options(act: F) -> F:
    """Add whose bot it is, when, who does it, and whether it is confirmed."""
    for option in (
        format_option,
        actor_option,
        click.option("--confirm", is_flag=True, help="Do it; without this, only show what it would do."),
        click.option(
            "--at", "at_ms", type=TIME, default=now_ms, help="When it takes effect: RFC 3339. Default: now."
        ),
        click.option("--bot", required=True, help="Its bot_id, as events carry it."),
        click.option("--account", required=True, help="The account_id of who pays."),
    ):
        act = option(act)
    return act


plan_options = (
    click.option("--plan", required=True, help="Id of the plan, as `quarterhour catalogue show` lists it."),
    click.option("--plan-version", type=click.IntRange(min=1), help="Its version. Default: the newest."),
)


@command.command()
@click.option("--bot-name", default="", help="What the bot is called on invoices. Default: its id.")
@plan_options[0]
@plan_options[1]
@act_options
def subscribe(bot_name: str, plan: str, plan_version: int | None, **given: Any) -> None:
    """Publish a bot under a plan.

    With the plan's trial, if the bot never had a subscription. Without --confirm nothing is changed.

    Example:

    \b
      quarterhour subscriptions subscribe --account acme --bot sales --plan standard --confirm
    """
    _do(lambda act: act.subscribe(plan, plan_version, bot_name=bot_name), **given)


@command.command()
@plan_options[0]
@plan_options[1]
@act_options
def change(plan: str, plan_version: int | None, **given: Any) -> None:
    """Change a bot's plan.

    At once, prorated to the second, if the plan costs more; else at the period's end. Without --confirm
    nothing is changed.

    Example:

    \b
      quarterhour subscriptions change --account acme --bot sales --plan advanced
    """
    _do(lambda act: act.change(plan, plan_version), **given)


@command.command()
@click.option("--now", is_flag=True, help="End it at --at, not at the period's end.")
@act_options
def cancel(now: bool, **given: Any) -> None:
    """Cancel a bot's subscription.

    At the period's end, or with --now. Without --confirm nothing is changed.

    Example:

    \b
      quarterhour subscriptions cancel --account acme --bot sales --confirm
    """
    _do(lambda act: act.cancel(now=now), **given)


@command.command()
@act_options
def withdraw(**given: Any) -> None:
    """Withdraw a change or cancellation that waits for the period's end.

    Without --confirm nothing is changed.

    Example:

    \b
      quarterhour subscriptions withdraw --account acme --bot sales --confirm
    """
    _do(lambda act: act.withdraw(), **given)


def _do(
    act: Callable[[Act], Awaitable[Outcome]],
    *,
    account: str,
    bot: str,
    at_ms: int,
    confirm: bool,
    actor: str,
    output_format: str,
) -> None:
    if confirm and at_ms > now_ms():
        raise WrongInput("--at is in the future: what is confirmed takes effect now or took effect before")
    outcome = with_store(lambda store: act(Act(store, account, bot, at_ms, actor, confirm)))
    row = {"confirmed": confirm, **_outcome_row(outcome)}
    if output_format == TABLE:
        _show(row)
    else:
        emit_object(row)
    if not confirm:
        click.echo("nothing was changed: add --confirm to do this", err=True)


def _outcome_row(outcome: Outcome) -> dict[str, Any]:
    currency = outcome.account.currency
    return {
        "event": outcome.event,
        "account_id": outcome.account.account_id,
        "bot_id": outcome.bot_id,
        "at": time_text(outcome.at_ms),
        "before": standing_row(outcome.before) if outcome.before else None,
        "after": standing_row(outcome.after),
        "lines": [line_row(number, line, currency) for number, line in enumerate(outcome.lines, 1)],
        "net_minor": sum(line.amount_minor for line in outcome.lines),
        "currency": currency,
    }


def _show(row: dict[str, Any]) -> None:
    before = row["before"] or {}
    rows = [
        {"of the subscription": name, "before": before.get(name), "after": value}
        for name, value in row["after"].items()
    ]
    emit(TABLE, rows)
    emit(TABLE, [with_amounts(line) for line in row["lines"]], LINE_COLUMNS)
    click.echo(f"this period so far, net of tax: {with_amounts(row)['net']}")


def standing_row(standing: Standing) -> dict[str, Any]:
    """How a subscription stands: plan, state, validity period, renewal."""
    return {
        "plan": standing.plan.id,
        "plan_version": standing.plan.version,
        "state": standing.state,
        "from": time_text(standing.period.from_ms),
        "to": time_text(standing.period.to_ms),
        "renews_at": time_text(standing.renews_ms),
        "pending_plan": standing.pending.id if standing.pending else None,
    }


def _row(subscription: Subscription) -> dict[str, Any]:
    return {
        "account_id": subscription.account_id,
        "bot_id": subscription.bot_id,
        "bot_name": subscription.bot_name,
        **standing_row(subscription.standing),
        "started_at": time_text(subscription.started_ms),
        "over_at": time_text(subscription.over_ms),
    }
