"""What time and acts do to subscriptions, written to the store: new standing, ended period, who did it."""

from __future__ import annotations

from typing import Any

from invoicing.changes import Effect, end_period, pay
from invoicing.lifecycle import Event, State
from invoicing.model import Account, Slice, Span
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
    """Put an ended period on its invoice, if anything in it can cost anything."""
    slices = await contracts.slices_in(connection, subscription, during, whole)
    if account.plan_kind == "enterprise" or not any(map(can_charge, slices)):
        return
    invoice_id = await books.open_draft(connection, account.account_id, "period", during, account.currency)
    await contracts.add_period(connection, subscription.subscription_id, during, whole, invoice_id)


def can_charge(terms_in_force: Slice) -> bool:
    """Whether anything under these terms can cost anything."""
    terms = terms_in_force.terms
    return not terms_in_force.is_trial and (terms.price_minor > 0 or any(terms.tiers.values()))


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
