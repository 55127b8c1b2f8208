"""When a session settles: no fact in order touches it after that, and one at that time still extends it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sessionizer.bill import Block, bill
from sessionizer.clock import BotClock
from sessionizer.rules import DEFAULT_RULES
from sessionizer.spans import merged, moments_of, spans_of
from tests.sessionizer import hostile
from tests.sessionizer.stories import agent, at, bot, closed, ended, event, facts, started, user
from tests.sessionizer.test_properties import examples, rules_of, sessions_of

DAY = 24 * 60


def session_at(start_ms: int, events: list[dict], lengths: dict) -> list[Block]:
    blocks = bill(facts(events), rules_of(lengths)).blocks
    return [block for block in blocks if block.session_started_ms == start_ms]


def without_copies(events: list[dict]) -> list[dict]:
    return list({event["id"]: event for event in events}.values())


def is_never_ended(handoff_id: str, events: list[dict]) -> bool:
    own = [event for event in events if event["data"].get("handoff_id") == handoff_id]
    ends = [event["time"] for event in own if event["type"] == "handoff.ended.v1"]
    starts = [event["time"] for event in own if event["type"] == "handoff.started.v1"]
    return bool(starts) and max(starts) > max(ends, default="")


@examples(1000)
@given(hostile.conversations, hostile.lengths, hostile.facts, st.integers(0, 20), st.data())
def test_a_fact_after_a_session_settled_leaves_it_as_it_is(events, lengths, new, steps, data):
    events = without_copies(events)
    sessions = sessions_of(bill(facts(events), rules_of(lengths)).blocks)
    assume(sessions)
    session = data.draw(st.sampled_from(sessions))
    # The `ended` of a handoff that was taken to have run out is the one exception: it makes a correction.
    assume(new["type"] != "handoff.ended.v1" or not is_never_ended(new["data"]["handoff_id"], events))
    time_ms = session[0].settles_ms + 1 + round(steps * hostile.GRID)
    later = event(new["type"], time_ms, "later", **new["data"])
    assert session_at(session[0].session_started_ms, [*events, later], lengths) == session


@examples(1000)
@given(hostile.conversations, hostile.lengths, st.data())
def test_a_user_s_message_at_the_time_a_session_settles_still_belongs_to_it(events, lengths, data):
    spans = spans_of(moments_of(facts(events)), lengths["handoff_timeout_ms"])
    sessions = sessions_of(bill(facts(events), rules_of(lengths)).blocks)
    # A span cut by a close is waited for longer than it lasts on the bill.
    assume(sessions and all(span.end_ms == span.latest_end_ms for span in spans))
    session = data.draw(st.sampled_from(sessions))
    settles_ms = session[0].settles_ms
    assume(not BotClock(merged(span[:2] for span in spans)).stands_still(settles_ms))
    last = event("conversation.message.v1", settles_ms, "last", author="user")
    extended = session_at(session[0].session_started_ms, [*events, last], lengths)
    # More than one more, if it bridges the way to what was a session of its own.
    assert user_messages(extended) > user_messages(session)


def user_messages(session: list[Block]) -> int:
    return sum(block.user_messages for block in session)


@pytest.mark.parametrize(
    ("sentence", "events", "settles"),
    [
        ("the idle timeout after its last engagement", user(0, 5), [20]),
        ("a bot's message is no engagement", user(0) + bot(14), [15]),
        ("a close", user(0) + closed(3), [3]),
        ("a close after the timeout is too late to matter", user(0) + closed(15.1), [15]),
        ("the idle timeout on the bot clock after a span", user(0) + agent(2, 60), [75]),
        ("a span that begins at the timeout belongs", user(0) + agent(15, 40), [55]),
        ("a span that begins after the timeout does not", user(0) + agent(15.1, 40), [15]),
        ("a span never ended counts to its handoff timeout", user(0) + started(5), [5 + DAY + 15]),
        (
            "so it does where a close cut it, for the session after",
            user(0, 20) + started(5) + closed(10),
            [10, 5 + DAY + 15],
        ),
        (
            "and to the end of a span that begins just then",
            started(0) + closed(5) + user(10) + agent(DAY + 15, DAY + 30, "h-2"),
            [DAY + 30],
        ),
        (
            "and where two handoffs run out, to the later",
            user(0) + started(5, handoff_id="h-1") + started(10, handoff_id="h-2"),
            [10 + DAY + 15],
        ),
        (
            "a close inside a span settles at once, whenever the span ends",
            user(0, 60) + started(2) + closed(30) + ended(60),
            [30, 75],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_session_settles_at(sentence, events, settles):
    sessions = sessions_of(bill(facts(events), DEFAULT_RULES).blocks)
    assert [session[0].settles_ms for session in sessions] == [at(minute) for minute in settles]
    assert all(block.settles_ms == session[0].settles_ms for session in sessions for block in session)


@pytest.mark.parametrize(
    ("events", "settles"),
    [
        (bot(3), 3),
        (user(0, 5), 20),
        (user(0) + closed(3), 3),
        (user(0) + bot(100), 100),
        (user(0, 30) + closed(31), 31),
        (user(0) + started(5) + closed(10) + user(20, DAY), 5 + DAY + 15),
    ],
)
def test_a_bill_settles_with_the_last_of_its_sessions_and_facts(events, settles):
    assert bill(facts(events), DEFAULT_RULES).settles_ms == at(settles)
