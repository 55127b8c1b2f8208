"""Hypothesis strategies for hostile conversations, on a coarse grid so that ties and exact limits are hit."""

from hypothesis import strategies as st

from tests.sessionizer.stories import MINUTE, START, event

GRID = 2.5 * MINUTE
"""Six steps are the block and the idle timeout, two the shortest idle timeout."""
LENGTHS = {
    "block_ms": [15 * MINUTE, 5 * MINUTE, 7 * MINUTE],
    "idle_timeout_ms": [15 * MINUTE, 5 * MINUTE, 40 * MINUTE, 24 * 60 * MINUTE],
    "handoff_timeout_ms": [24 * 60 * MINUTE, 20 * MINUTE, 5 * MINUTE],
}

steps = st.integers(0, 8) | st.integers(0, 40)
nudges = st.sampled_from([0, 0, 0, 0, -1, 1])
times = st.builds(lambda step, nudge: START + round(step * GRID) + nudge, steps, nudges)
# By code point "u" < "u!" < "u|": a table's line must not be compared whole.
user_ids = st.sampled_from(["u", "u!", "v"])
channels = st.sampled_from(["web", "sms"])
handoff_ids = st.sampled_from(["h", "h!", "i"])
# Few ids for many events make copies in conflict; the empty one gives an event an id of its own content.
shared_ids = st.sampled_from(["", "", "", "e-1", "e-2", "e-3", "e-4", "e\u2028", "e-5", "é-6"])

people = {"user_id": user_ids, "channel": channels, "id": shared_ids}


def messages(author: str) -> st.SearchStrategy[dict]:
    return st.builds(event, st.just("conversation.message.v1"), times, author=st.just(author), **people)


def handoffs(end: str) -> st.SearchStrategy[dict]:
    return st.builds(event, st.just(f"handoff.{end}.v1"), times, handoff_id=handoff_ids, **people)


closes = st.builds(event, st.just("conversation.closed.v1"), times, **people)
users = messages("user")
facts = st.one_of(users, users, messages("bot"), handoffs("started"), handoffs("ended"), closes)
conversations = st.lists(facts, min_size=1, max_size=24)

set_aside = st.one_of(
    messages("agent"),
    st.builds(
        event, st.just("conversation.message.v1"), times, author=st.just("user"), developer=st.just(True)
    ),
    st.builds(event, st.just("alert.failed.v1"), times, delivery_id=st.just("d-1"), alert_id=st.just("a")),
)
alerts = st.builds(
    event,
    st.just("alert.delivered.v1"),
    times,
    delivery_id=st.sampled_from(["d-1", "d-2"]),
    alert_id=st.sampled_from(["a", "b"]),
    **people,
)
traffic = st.lists(facts | alerts | set_aside, max_size=24)

lengths = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in LENGTHS.items()})
rule_rows = st.lists(
    st.builds(
        lambda step, of_bot, lengths: {
            "effective_ms": START + round(step * GRID),
            "account_id": "acme" if of_bot else None,
            "bot_id": of_bot,
            **lengths,
        },
        st.integers(-1, 10),
        st.sampled_from([None, "sales", "support"]),
        lengths,
    ),
    max_size=5,
    unique_by=lambda row: (row["effective_ms"], row["bot_id"]),
)
