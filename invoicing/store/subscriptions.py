"""Subscriptions, the terms they had over time, and their periods."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from invoicing.catalogue import plan_of
from invoicing.changes import Effect, Standing
from invoicing.lifecycle import State
from invoicing.model import Slice, Span
from invoicing.store.connecting import Connection, Row, execute, fetch, fetch_value, span_of


@dataclass(frozen=True, slots=True)
class Subscription:
    """A bot's subscription and how it stands."""

    subscription_id: int
    account_id: str
    bot_key: int
    bot_id: str
    bot_name: str
    started_ms: int
    over_ms: int | None
    standing: Standing


async def subscriptions(
    connection: Connection,
    account_id: str | None = None,
    bot_id: str | None = None,
    due_ms: int | None = None,
) -> list[Subscription]:
    """Those of an account and bot; with `due_ms`, those whose period is over by then."""
    rows = await fetch(connection, "subscriptions", account_id, bot_id, due_ms)
    return [_subscription(row) for row in rows]


async def add_subscription(
    connection: Connection, account_id: str, bot_key: int, at_ms: int, standing: Standing
) -> int:
    """Add a bot's subscription from then on; raises `Conflict` if it has one at that time."""
    subscription_id: int = await fetch_value(
        *(connection, "add_subscription", bot_key, account_id, standing.state, at_ms, standing.unit),
        *(standing.anchor_ms, standing.anchor_wall, standing.number),
        *(standing.period.from_ms, standing.period.to_ms),
    )
    await _add_slice(connection, subscription_id, bot_key, at_ms, standing)
    return subscription_id


async def save_effect(connection: Connection, subscription: Subscription, effect: Effect) -> None:
    """Have the subscription stand as after the effect."""
    after = effect.after
    plan_id, version = (after.pending.id, after.pending.version) if after.pending else (None, None)
    if effect.new_slice or after.is_over:
        await execute(connection, "end_slice", subscription.subscription_id, effect.at_ms)
    if effect.new_slice:
        await _add_slice(connection, subscription.subscription_id, subscription.bot_key, effect.at_ms, after)
    await execute(
        *(connection, "update_subscription", subscription.subscription_id, after.state),
        *(effect.at_ms if after.is_over else None, after.unit, after.anchor_ms, after.anchor_wall),
        *(after.number, after.period.from_ms, after.period.to_ms, plan_id, version),
    )


async def slices_in(
    connection: Connection, subscription: Subscription, during: Span, whole: Span
) -> list[Slice]:
    """The terms of a subscription within a time, cut to it."""
    rows = await fetch(connection, "slices_in", subscription.subscription_id, during.from_ms, during.to_ms)
    return [_slice(row, subscription.bot_id, whole) for row in rows]


async def add_period(
    connection: Connection, subscription_id: int, during: Span, whole: Span, invoice_id: UUID
) -> None:
    """A subscription's period that is over, and the invoice it belongs on."""
    await execute(
        *(connection, "add_period", subscription_id, during.from_ms, during.to_ms),
        *(whole.from_ms, whole.to_ms, invoice_id),
    )


async def slices_of_invoice(connection: Connection, invoice_id: UUID) -> list[Slice]:
    """What an invoice bills: every bot's terms over its period."""
    rows = await fetch(connection, "slices_of_invoice", invoice_id)
    return [_slice(row, row["bot_id"], Span(row["whole_from"], row["whole_to"])) for row in rows]


async def _add_slice(
    connection: Connection, subscription_id: int, bot_key: int, at_ms: int, standing: Standing
) -> None:
    plan = standing.plan
    await execute(
        *(connection, "add_slice", subscription_id, bot_key, at_ms, plan.id, plan.version),
        standing.is_trial,
    )


def _slice(row: Row, bot_id: str, whole: Span) -> Slice:
    terms = plan_of(row["plan"]).terms
    return Slice(bot_id, terms, span_of(row), whole, row["is_trial"])


def _subscription(row: Row) -> Subscription:
    standing = Standing(
        State(row["state"]),
        plan_of(row["plan"]),
        row["is_trial"],
        row["unit"],
        row["anchor_at"],
        row["anchor_wall"],
        row["period_number"],
        Span(row["period_starts_at"], row["period_ends_at"]),
        plan_of(row["pending"]) if row["pending"] else None,
    )
    return Subscription(
        *(row["subscription_id"], row["account_id"], row["bot_key"], row["bot_id"], row["bot_name"]),
        *(row["started_at"], row["over_at"], standing),
    )
