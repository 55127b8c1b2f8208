"""What time and acts do to subscriptions, written to the store: new standing, ended period, who did it."""

from __future__ import annotations

from typing import Any

from invoicing.changes import OVER, Effect, Standing, end_of_trial, end_period, pay
from invoicing.lifecycle import Event, State, after
from invoicing.model import Account, Slice, Span, Terms
from invoicing.store import accounts as people
from invoicing.store import invoices as books
from invoicing.store import subscriptions as contracts
from invoicing.store.connecting import Connection, fetch_value

ACTOR = "invoices run"


async def end_periods(connection: Connection, account: Account, as_of_ms: int) -> int:
    """End all periods of an account that are over, each with its draft; return how many.

    The caller has locked the account.
    """
    ended = 0
    while due := await contracts.subscriptions(connection, account.account_id, None, as_of_ms):
        for subscription in due:
            effect = end_period(subscription.standing, account.zones)
            await apply(connection, account, subscription, effect, ACTOR)
        ended += len(due)
    return ended


async def apply(
    connection: Connection,
    account: Account,
    subscription: contracts.Subscription,
    effect: Effect,
    actor: str,
) -> None:
    """Have an act take effect: the subscription's new standing, the period that is over, who did it."""
    await contracts.save_effect(connection, subscription, effect)
    if effect.ended:
        await _bill_later(connection, account, subscription, effect.ended, effect.before.period)
    await people.record_action(
        connection,
        effect.event,
        as_of_ms=effect.at_ms,
        actor=actor,
        account_id=account.account_id,
        bot_key=subscription.bot_key,
        subject=f"subscription {subscription.subscription_id}",
        details=_details(effect),
    )


async def _bill_later(
    connection: Connection,
    account: Account,
    subscription: contracts.Subscription,
    during: Span,
    whole: Span,
) -> None:
    """Put an ended period on its invoice, if anything in it can cost anything.

    That invoice may be issued: of another bot's period, before this one subscribed as of back then.
    """
    slices = await contracts.slices_in(connection, subscription, during, whole)
    if account.plan_kind == "enterprise" or not any(map(can_charge, slices)):
        return
    invoice_id = await books.open_draft(connection, account.account_id, "period", during, account.currency)
    await contracts.add_period(connection, subscription.subscription_id, during, whole, invoice_id)
    await books.to_review(connection, invoice_id)


async def has_next_invoice(connection: Connection, account: Account) -> bool:
    """Whether an account will have another invoice of itself: there is a draft, or a subscription goes on."""
    if await books.drafts(connection, account.account_id):
        return True
    found = await contracts.subscriptions(connection, account.account_id)
    return account.plan_kind == "standard" and any(_will_charge(one.standing) for one in found)


def _will_charge(standing: Standing) -> bool:
    """Whether the period that runs, or that which follows a trial, can cost anything."""
    if standing.is_over or (standing.is_trial and after(standing.state, end_of_trial(standing)) in OVER):
        return False
    return is_sold(standing.plan.terms)


def can_charge(part: Slice) -> bool:
    """Whether anything in a slice can cost anything."""
    return not part.is_trial and is_sold(part.terms)


def is_sold(terms: Terms) -> bool:
    """Whether a plan has a price, or sells sessions beyond its allowance."""
    return terms.price_minor > 0 or any(terms.tiers.values())


async def mind_payments(connection: Connection, account: Account, as_of_ms: int) -> None:
    """Have subscriptions be past due while an invoice is overdue, and active again once none is."""
    overdue: bool = await fetch_value(connection, "is_overdue", account.account_id, as_of_ms)
    from_state = State.ACTIVE if overdue else State.PAST_DUE
    event = Event.PAYMENT_OVERDUE if overdue else Event.PAYMENT_RECEIVED
    for subscription in await contracts.subscriptions(connection, account.account_id):
        if subscription.standing.state is from_state:
            effect = pay(subscription.standing, event, as_of_ms)
            await apply(connection, account, subscription, effect, ACTOR)


def _details(effect: Effect) -> dict[str, Any]:
    return {
        "from": {"state": effect.before.state, "plan": effect.before.plan.id},
        "to": {"state": effect.after.state, "plan": effect.after.plan.id},
    }
