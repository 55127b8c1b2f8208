"""The states of a subscription and what may happen in each, as one table.

Theory of operation: a subscription begins in a trial, or active if its plan has none. In its trial every
change is at once, so none is pending there. Active, an upgrade is at once and a downgrade waits for the
period's end (change pending); so does a cancellation (cancelling), which takes the place of a change that
waited. Withdrawing gives up what waits. Past due is active with an invoice that should be paid: it can be
cancelled, not changed, and goes on from period to period. Payments may come in every state, and turn only
these two into each other. Cancelled and expired are the end: the bot's next subscription is another one.

A pair that is not in the table is not allowed. The table knows no dates: that withdrawing a cancellation
within a trial leads back to the trial is the business of `changes`.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from invoicing.errors import NotAllowed


class State(StrEnum):
    """Where a subscription stands."""

    TRIAL = "trial"
    ACTIVE = "active"
    CHANGE_PENDING = "change_pending"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PAST_DUE = "past_due"


class Event(StrEnum):
    """What happens to it: by someone's act, of itself when a time has come, or by a payment."""

    TRIAL_ENDED = "trial_ended"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    WITHDRAW = "withdraw"
    CANCEL_AT_END = "cancel_at_end"
    CANCEL_NOW = "cancel_now"
    PERIOD_ENDED = "period_ended"
    PAYMENT_OVERDUE = "payment_overdue"
    PAYMENT_RECEIVED = "payment_received"
    EXPIRE = "expire"


_TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.TRIAL: {
        Event.TRIAL_ENDED: State.ACTIVE,
        Event.UPGRADE: State.TRIAL,
        Event.DOWNGRADE: State.TRIAL,
        Event.CANCEL_AT_END: State.CANCELLING,
        Event.CANCEL_NOW: State.CANCELLED,
        Event.PAYMENT_OVERDUE: State.TRIAL,
        Event.PAYMENT_RECEIVED: State.TRIAL,
        Event.EXPIRE: State.EXPIRED,
    },
    State.ACTIVE: {
        Event.UPGRADE: State.ACTIVE,
        Event.DOWNGRADE: State.CHANGE_PENDING,
        Event.CANCEL_AT_END: State.CANCELLING,
        Event.CANCEL_NOW: State.CANCELLED,
        Event.PERIOD_ENDED: State.ACTIVE,
        Event.PAYMENT_OVERDUE: State.PAST_DUE,
        Event.PAYMENT_RECEIVED: State.ACTIVE,
    },
    State.CHANGE_PENDING: {
        Event.UPGRADE: State.ACTIVE,
        Event.DOWNGRADE: State.CHANGE_PENDING,
        Event.WITHDRAW: State.ACTIVE,
        Event.CANCEL_AT_END: State.CANCELLING,
        Event.CANCEL_NOW: State.CANCELLED,
        Event.PERIOD_ENDED: State.ACTIVE,
        Event.PAYMENT_OVERDUE: State.CHANGE_PENDING,
        Event.PAYMENT_RECEIVED: State.CHANGE_PENDING,
    },
    State.CANCELLING: {
        Event.TRIAL_ENDED: State.CANCELLED,
        Event.WITHDRAW: State.ACTIVE,
        Event.CANCEL_NOW: State.CANCELLED,
        Event.PERIOD_ENDED: State.CANCELLED,
        Event.PAYMENT_OVERDUE: State.CANCELLING,
        Event.PAYMENT_RECEIVED: State.CANCELLING,
    },
    State.PAST_DUE: {
        Event.CANCEL_AT_END: State.CANCELLING,
        Event.CANCEL_NOW: State.CANCELLED,
        Event.PERIOD_ENDED: State.PAST_DUE,
        Event.PAYMENT_OVERDUE: State.PAST_DUE,
        Event.PAYMENT_RECEIVED: State.ACTIVE,
    },
    State.CANCELLED: {
        Event.PAYMENT_OVERDUE: State.CANCELLED,
        Event.PAYMENT_RECEIVED: State.CANCELLED,
    },
    State.EXPIRED: {
        Event.PAYMENT_OVERDUE: State.EXPIRED,
        Event.PAYMENT_RECEIVED: State.EXPIRED,
    },
}

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {(state, event): to for state, row in _TABLE.items() for event, to in row.items()}
)
"""To which state an event leads; a pair that is not here is not allowed."""


def after(state: State, event: Event) -> State:
    """Give the state that follows. Raises `NotAllowed`, which says what is possible instead."""
    to = TRANSITIONS.get((state, event))
    if to is None:
        raise NotAllowed(f"{event} is not possible when {state}: {', '.join(_TABLE[state])} are")
    return to
