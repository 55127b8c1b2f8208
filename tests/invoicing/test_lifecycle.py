"""The state machine of a subscription: every state and event, as a table of its own written by hand."""

import pytest

from invoicing.errors import NotAllowed
from invoicing.lifecycle import TRANSITIONS, Event, State, after

# A column a state, a row an event; `-` is not allowed.
TABLE = """
                  trial       active          change_pending  cancelling  past_due    cancelled  expired
trial_ended       active      -               -               cancelled   -           -          -
upgrade           trial       active          active          -           -           -          -
downgrade         trial       change_pending  change_pending  -           -           -          -
withdraw          -           -               active          active      -           -          -
cancel_at_end     cancelling  cancelling      cancelling      -           cancelling  -          -
cancel_now        cancelled   cancelled       cancelled       cancelled   cancelled   -          -
period_ended      -           active          active          cancelled   past_due    -          -
payment_overdue   trial       past_due        change_pending  cancelling  past_due    cancelled  expired
payment_received  trial       active          change_pending  cancelling  active      cancelled  expired
expire            expired     -               -               -           -           -          -
"""

HEAD, *BODY = (line.split() for line in TABLE.strip().splitlines())
ROWS = [(state, event, to) for event, *line in BODY for state, to in zip(HEAD, line, strict=True)]


@pytest.mark.parametrize(("state", "event", "to"), ROWS)
def test_each_event_in_each_state(state, event, to):
    if to == "-":
        with pytest.raises(NotAllowed) as caught:
            after(State(state), Event(event))
        assert caught.value.code == "not_allowed"
    else:
        assert after(State(state), Event(event)) is State(to)


def test_no_pair_is_missing():
    assert {(state, event) for state, event, _ in ROWS} == {
        (state, event) for state in State for event in Event
    }
    assert len(ROWS) == len(State) * len(Event)
    assert len(TRANSITIONS) == sum(to != "-" for _, _, to in ROWS)


def test_who_asks_for_what_is_not_possible_is_told_what_is():
    with pytest.raises(NotAllowed) as caught:
        after(State.PAST_DUE, Event.UPGRADE)
    assert str(caught.value) == (
        "upgrade is not possible when past_due: "
        "cancel_at_end, cancel_now, period_ended, payment_overdue, payment_received are"
    )


def test_every_state_can_be_left_but_the_two_that_are_the_end():
    ends = {state for state in State if {to for (at, _), to in TRANSITIONS.items() if at is state} == {state}}
    assert ends == {State.CANCELLED, State.EXPIRED}


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        TRANSITIONS[State.CANCELLED, Event.WITHDRAW] = State.ACTIVE
