"""What an act does to a bot's subscription: previewed with it, done with it, recorded by it.

Pure: from a subscription as it stands, an act and a moment to how it stands after. Moments are whole seconds
(in ms). Periods that are over at that moment must have been ended before (`end_period`), so an act is always
within the current one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from invoicing.catalogue import Plan, is_upgrade
from invoicing.errors import Conflict
from invoicing.lifecycle import Event, State, after
from invoicing.model import Span, Unit
from invoicing.periods import Moves, anchor_wall, next_boundary, zone_at
from invoicing.zones import zone

DAY_MS = 86_400_000
OVER = frozenset({State.CANCELLED, State.EXPIRED})


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription as it stands.

    Its current period is the `number`'th of its anchor: from boundary number - 1 to boundary number; a trial
    is period 0 and ends at the anchor.
    """

    state: State
    plan: Plan
    is_trial: bool
    unit: Unit
    anchor_ms: int
    anchor_wall: datetime
    number: int
    period: Span
    pending: Plan | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was cancelled or has expired."""
        return self.state in OVER

    @property
    def renews_ms(self) -> int | None:
        """When it is renewed: never, if it is free or will not be."""
        ends = self.is_over or self.state is State.CANCELLING
        plan = self.pending or self.plan
        return None if ends or plan.kind == "free" else self.period.to_ms


@dataclass(frozen=True, slots=True)
class Effect:
    """What an act does at a moment."""

    event: Event
    at_ms: int
    before: Standing
    after: Standing
    ended: Span | None = None
    """The part of the period before that is over by it and is to be invoiced."""

    @property
    def new_slice(self) -> bool:
        """Whether other terms hold from that moment on."""
        terms = (self.before.plan, self.before.is_trial)
        return not self.after.is_over and terms != (self.after.plan, self.after.is_trial)


def start(plan: Plan, at_ms: int, moves: Moves, *, with_trial: bool) -> Standing:
    """A new subscription: its trial first, if the plan has one and the bot may."""
    days = plan.trial_days if with_trial else 0
    anchored = _anchored(plan, at_ms + days * DAY_MS, moves)
    if not days:
        return anchored
    return replace(
        anchored, state=State.TRIAL, is_trial=True, number=0, period=Span(at_ms, at_ms + days * DAY_MS)
    )


def change_plan(standing: Standing, plan: Plan, at_ms: int, moves: Moves) -> Effect:
    """Go to another plan: at once if it is an upgrade or in a trial, else at the period's end.

    Raises `NotAllowed`, and `Conflict` if it is the plan it has or one in another currency.
    """
    if plan.terms.currency != standing.plan.terms.currency:
        raise Conflict(
            f"plan {plan.id} is in {plan.terms.currency}, the subscription in {standing.plan.terms.currency}"
        )
    if plan == standing.plan:
        raise Conflict(f"the bot has plan {plan.id} version {plan.version} already: withdraw undoes a change")
    upward = is_upgrade(standing.plan.terms, plan.terms)
    event = Event.UPGRADE if upward else Event.DOWNGRADE
    state = after(standing.state, event)
    if standing.is_trial:
        other = replace(standing, state=state, plan=plan, unit=plan.terms.unit)
        return Effect(event, at_ms, standing, other)
    if not upward:
        return Effect(event, at_ms, standing, replace(standing, state=state, pending=plan))
    if plan.terms.unit == standing.unit:
        return Effect(event, at_ms, standing, replace(standing, state=state, plan=plan, pending=None))
    ended = _until(standing, at_ms)
    return Effect(event, at_ms, standing, replace(_anchored(plan, at_ms, moves), state=state), ended)


def cancel(standing: Standing, at_ms: int, *, now: bool) -> Effect:
    """Cancel: now, or at the period's end. Raises `NotAllowed`."""
    event = Event.CANCEL_NOW if now else Event.CANCEL_AT_END
    cancelled = replace(standing, state=after(standing.state, event), pending=None)
    return Effect(event, at_ms, standing, cancelled, _until(standing, at_ms) if now else None)


def withdraw(standing: Standing, at_ms: int) -> Effect:
    """Undo a change or a cancellation that waits for the period's end. Raises `NotAllowed`."""
    state = after(standing.state, Event.WITHDRAW)
    restored = replace(standing, state=State.TRIAL if standing.is_trial else state, pending=None)
    return Effect(Event.WITHDRAW, at_ms, standing, restored)


def pay(standing: Standing, event: Event, at_ms: int) -> Effect:
    """A payment is overdue, or has come."""
    return Effect(event, at_ms, standing, replace(standing, state=after(standing.state, event)))


def end_period(standing: Standing, moves: Moves) -> Effect:
    """What happens at the end of the current period, of itself."""
    at_ms = standing.period.to_ms
    event = end_of_trial(standing) if standing.is_trial else Event.PERIOD_ENDED
    state = after(standing.state, event)
    if state in OVER:
        following = replace(standing, state=state, pending=None)
    elif standing.pending and standing.pending.terms.unit != standing.unit:
        following = replace(_anchored(standing.pending, at_ms, moves), state=state)
    else:
        following = _next_period(standing, state, moves)
    return Effect(event, at_ms, standing, following, standing.period)


def end_of_trial(standing: Standing) -> Event:
    """What the end of a trial is: the plan says whether the subscription goes on."""
    expires = standing.state is State.TRIAL and standing.plan.after_trial == "expired"
    return Event.EXPIRE if expires else Event.TRIAL_ENDED


def _anchored(plan: Plan, at_ms: int, moves: Moves) -> Standing:
    """The first period under this plan, with its anchor at this moment."""
    wall, unit = anchor_wall(at_ms, zone(zone_at(moves, at_ms))), plan.terms.unit
    period = Span(at_ms, next_boundary(wall, unit, 0, at_ms, moves))
    return Standing(State.ACTIVE, plan, False, unit, at_ms, wall, 1, period)


def _next_period(standing: Standing, state: State, moves: Moves) -> Standing:
    from_ms, number = standing.period.to_ms, standing.number
    period = Span(from_ms, next_boundary(standing.anchor_wall, standing.unit, number, from_ms, moves))
    plan = standing.pending or standing.plan
    return replace(
        standing, state=state, plan=plan, pending=None, is_trial=False, number=number + 1, period=period
    )


def _until(standing: Standing, at_ms: int) -> Span:
    """What of the period is over at that moment; empty at its very start."""
    return Span(standing.period.from_ms, at_ms)
