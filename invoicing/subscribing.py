"""Subscribing a bot, changing its plan, cancelling: each previewed by the very code that then does it.

A preview is the act in a transaction that is not committed. Every act first ends the periods that are over by
then, so that it meets the subscription as it stands at that moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from invoicing.catalogue import Plan
from invoicing.changes import Effect, Standing, cancel, change_plan, start, withdraw
from invoicing.errors import Conflict, NotAllowed, Unknown
from invoicing.model import Account, Line
from invoicing.rating import rate
from invoicing.renewing import apply, end_periods
from invoicing.store import accounts as people
from invoicing.store import subscriptions as contracts
from invoicing.store.connecting import Connection, Store
from invoicing.store.counting import count_in_slices
from invoicing.store.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an act did, or would do."""

    account: Account
    bot_id: str
    event: str
    at_ms: int
    before: Standing | None
    after: Standing
    lines: tuple[Line, ...]
    """Of the current period as far as it is known: prices of all its slices, and the sessions so far."""


class _NotConfirmed(Exception):
    """Ends the transaction of a preview."""


@dataclass(frozen=True, slots=True)
class Act:
    """Who acts on a bot's subscription, when (ms; cut to whole seconds), and whether it is confirmed."""

    store: Store
    account_id: str
    bot_id: str
    at_ms: int
    actor: str
    confirmed: bool

    async def subscribe(self, plan_id: str, version: int | None = None, *, bot_name: str = "") -> Outcome:
        """Publish a bot under a plan (its newest version), with the plan's trial if it is the bot's first.

        Raises `Unknown`, `Conflict` if it has a subscription at that time, and `NotAllowed`.
        """
        found: list[Outcome] = []
        async with self._books() as (connection, account):
            await end_periods(connection, account, self.moment_ms)
            plan = await self._plan(connection, account, plan_id, version)
            if not account.zones or self.moment_ms < account.zones[0][0]:
                raise NotAllowed(f"account {self.account_id} has no time zone at that time")
            bot_key = await people.put_bot(connection, self.account_id, self.bot_id, bot_name)
            had = await contracts.subscriptions(connection, self.account_id, self.bot_id)
            if any(one.over_ms is None or one.over_ms > self.moment_ms for one in had):
                raise Conflict(
                    f"bot {self.bot_id} has a subscription then or later, which is {had[-1].standing.state}: "
                    "change that, or cancel it and subscribe from its end on"
                )
            standing = start(plan, self.moment_ms, account.zones, with_trial=not had)
            number = await contracts.add_subscription(
                connection, self.account_id, bot_key, self.moment_ms, standing
            )
            await people.record_action(
                connection,
                "subscribe",
                as_of_ms=self.moment_ms,
                actor=self.actor,
                account_id=self.account_id,
                bot_key=bot_key,
                subject=f"subscription {number}",
                details={"plan": plan.id, "version": plan.version},
            )
            found.append(await self._outcome(connection, account, "subscribe", None))
        return found[0]

    async def change(self, plan_id: str, version: int | None = None) -> Outcome:
        """Go to another plan (its newest version). Raises what `changes.change_plan` does."""

        async def to_plan(connection: Connection, account: Account, standing: Standing) -> Effect:
            plan = await self._plan(connection, account, plan_id, version)
            return change_plan(standing, plan, self.moment_ms, account.zones)

        return await self._on_subscription(to_plan)

    async def cancel(self, *, now: bool) -> Outcome:
        """Cancel at the period's end, or now."""

        async def to_end(connection: Connection, account: Account, standing: Standing) -> Effect:
            return cancel(standing, self.moment_ms, now=now)

        return await self._on_subscription(to_end)

    async def withdraw(self) -> Outcome:
        """Undo a change or cancellation that waits for the period's end."""

        async def to_stay(connection: Connection, account: Account, standing: Standing) -> Effect:
            return withdraw(standing, self.moment_ms)

        return await self._on_subscription(to_stay)

    @property
    def moment_ms(self) -> int:
        """The second in which the act takes effect."""
        return self.at_ms // 1000 * 1000

    async def _on_subscription(
        self, effect_of: Callable[[Connection, Account, Standing], Awaitable[Effect]]
    ) -> Outcome:
        found: list[Outcome] = []
        async with self._books() as (connection, account):
            await end_periods(connection, account, self.moment_ms)
            subscription = await self._live(connection)
            if (
                self.moment_ms < subscription.started_ms
                or self.moment_ms < subscription.standing.period.from_ms
            ):
                raise NotAllowed(
                    "an act takes effect within the current period, and not before the subscription began"
                )
            effect = await effect_of(connection, account, subscription.standing)
            if effect.after.is_over and self.moment_ms == subscription.started_ms:
                raise NotAllowed("a subscription cannot be over in the very second in which it began")
            await apply(connection, account, subscription, effect, self.actor)
            found.append(await self._outcome(connection, account, effect.event, subscription.standing))
        return found[0]

    @asynccontextmanager
    async def _books(self) -> AsyncIterator[tuple[Connection, Account]]:
        """The account locked, in a transaction that is committed only if the act is confirmed."""
        try:
            async with self.store.transaction() as connection:
                yield connection, await people.lock_account(connection, self.account_id)
                if not self.confirmed:
                    raise _NotConfirmed
        except _NotConfirmed:
            pass

    async def _plan(
        self, connection: Connection, account: Account, plan_id: str, version: int | None
    ) -> Plan:
        plan = await people.plan(connection, plan_id, version)
        if plan.terms.currency != account.currency:
            raise Conflict(
                f"plan {plan.id} is in {plan.terms.currency}, "
                f"account {account.account_id} in {account.currency}"
            )
        if (plan.kind == "contract") != (account.plan_kind == "enterprise"):
            raise NotAllowed(
                f"plan {plan.id} is {plan.kind}, account {account.account_id} is {account.plan_kind}: "
                "contract plans are for enterprise accounts, and no others are"
            )
        return plan

    async def _live(self, connection: Connection) -> Subscription:
        found = await contracts.subscriptions(connection, self.account_id, self.bot_id)
        if not found:
            raise Unknown(f"account {self.account_id} has no bot {self.bot_id!r} with a subscription")
        if found[-1].standing.is_over:
            raise NotAllowed(
                f"the subscription of {self.bot_id} is {found[-1].standing.state}: subscribe anew"
            )
        return found[-1]

    async def _outcome(
        self, connection: Connection, account: Account, event: str, before: Standing | None
    ) -> Outcome:
        subscription = (await contracts.subscriptions(connection, self.account_id, self.bot_id))[-1]
        lines = await _lines_so_far(connection, account, subscription)
        return Outcome(
            account, self.bot_id, event, self.moment_ms, before, subscription.standing, tuple(lines)
        )


async def _lines_so_far(connection: Connection, account: Account, subscription: Subscription) -> list[Line]:
    """What a subscription's current period costs with the sessions so far, net of tax."""
    period = subscription.standing.period
    slices = await contracts.slices_in(connection, subscription, period, period)
    counts = await count_in_slices(connection, "count_sessions", account.account_id, slices)
    rated = [rate(one, count, account.tax_percent) for one, count in zip(slices, counts, strict=True)]
    return [line for lines in rated for line in lines]
