"""Hypothesis strategies for hostile conversations, on a coarse grid so that ties and exact limits are hit.

An event is drawn as a few bytes, each of which chooses from one of the lists below: far cheaper than a draw
for each field. What is common stands in a list more often; what is simplest stands first, for shrinking.
"""

from itertools import chain

from hypothesis import strategies as st

from tests.sessionizer.stories import MINUTE, START, event

GRID = 2.5 * MINUTE
"""Six steps are the block and the idle timeout, two the shortest idle timeout."""
LENGTHS = {
    "block_ms": [15 * MINUTE, 5 * MINUTE, 7 * MINUTE],
    "idle_timeout_ms": [15 * MINUTE, 5 * MINUTE, 40 * MINUTE, 24 * 60 * MINUTE],
    "handoff_timeout_ms": [24 * 60 * MINUTE, 20 * MINUTE, 5 * MINUTE],
}
STEPS = [*range(18), *range(8), 24, 40, 600]
NUDGES_MS = [0] * 8 + [-1, 1]
# By code point "u" < "u!" < "u|": a table's line must not be compared whole.
USER_IDS = ["u", "u!", "v"]
CHANNELS = ["web", "sms"]
HANDOFF_IDS = ["h", "h", "h!"]
# Few ids for many events make copies in conflict; the empty one gives an event an id of its own content.
SHARED_IDS = [""] * 8 + ["e-1", "e\u2028", "é-3"]

USER, BOT, AGENT = (
    {"type": "conversation.message.v1", "author": author} for author in ("user", "bot", "agent")
)
TEST = {**USER, "developer": True}
STARTED, ENDED = {"type": "handoff.started.v1"}, {"type": "handoff.ended.v1"}
CLOSED = {"type": "conversation.closed.v1"}
DELIVERED, FAILED = {"type": "alert.delivered.v1"}, {"type": "alert.failed.v1"}


def drawn(kinds: list[dict], choices: bytes) -> dict:
    """The event that these bytes stand for."""
    lists = (kinds, STEPS, NUDGES_MS, SHARED_IDS, USER_IDS, CHANNELS, HANDOFF_IDS)
    picked = [options[byte % len(options)] for options, byte in zip(lists, choices, strict=True)]
    kind, step, nudge_ms, id, user_id, channel, subject = picked
    fields = {**kind, "id": id, "user_id": user_id, "channel": channel}
    if kind["type"].startswith("handoff."):
        fields["handoff_id"] = subject
    elif kind["type"].startswith("alert."):
        fields |= {"delivery_id": subject, "alert_id": "a-1"}
    return event(time_ms=START + round(step * GRID) + nudge_ms, **fields)


def events(kinds: list[dict]) -> st.SearchStrategy[dict]:
    return st.binary(min_size=7, max_size=7).map(lambda choices: drawn(kinds, choices))


def span(choices: bytes) -> tuple[dict, dict]:
    """A handoff that ends soon: left to chance, few do early enough for anything to come after them."""
    handoff_id = HANDOFF_IDS[choices[0] % len(HANDOFF_IDS)]
    start, length = choices[1] % 18, choices[2] % 6
    started, ended = (START + round(step * GRID) for step in (start, start + length))
    return (
        event("handoff.started.v1", started, handoff_id=handoff_id),
        event("handoff.ended.v1", ended, handoff_id=handoff_id),
    )


facts = events([USER, USER, USER, USER, BOT, BOT, ENDED, ENDED, STARTED, CLOSED])
spans = st.binary(min_size=3, max_size=3).map(span)
conversations = st.builds(
    lambda singles, pairs: [*singles, *chain.from_iterable(pairs)],
    st.lists(facts, min_size=4, max_size=20),
    st.lists(spans, max_size=2),
)
traffic = st.lists(
    events([USER, USER, BOT, ENDED, STARTED, CLOSED, DELIVERED, AGENT, TEST, FAILED]), max_size=24
)

lengths = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in LENGTHS.items()})
rule_rows = st.lists(
    st.builds(
        lambda step, bot_id, lengths: {
            "effective_ms": START + round(step * GRID),
            "account_id": "acme" if bot_id else None,
            "bot_id": bot_id,
            **lengths,
        },
        st.integers(-1, 10),
        st.sampled_from([None, "sales", "support"]),
        lengths,
    ),
    max_size=5,
    unique_by=lambda row: (row["effective_ms"], row["bot_id"]),
)
