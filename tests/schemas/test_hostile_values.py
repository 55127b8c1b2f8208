"""Whatever the bytes, decode returns an event or raises Rejected, and a second decoder agrees with it."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.decode import Rejected, decode
from schemas.topics import TOPIC_OF_TYPE, Topic
from tests.schemas.examples import CLOSED, DELIVERED, MESSAGE, STARTED, changed, document
from tests.schemas.second_decoder import Verdict, verdict

topics = st.sampled_from(Topic)
kinds = st.sampled_from([MESSAGE, CLOSED, STARTED, DELIVERED])
texts = st.text(max_size=5) | st.text(
    st.sampled_from("a|\0\n\x7f\x80\x9f\xa0\u200d\U0001f600"), min_size=198, max_size=202
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(
    [
        *document(),
        *document()["data"],
        "reason",
        "handoff_id",
        "alert_id",
        "delivery_id",
        "developer",
        "extra",
    ]
)
times = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,5})?(Z|z|[+-][0-2][0-9]:[0-6][0-9])?",
    fullmatch=True,
)
raw_members = st.sampled_from(
    [
        *(
            '"x":NaN',
            '"x":"NaN"',
            '"x":[-Infinity]',
            '"x":-Inf',
            '"x":1e999',
            '"x":01',
            '"x":tru',
            '"x":"\n"',
        ),
        *('"x":' + "9" * 4300, '"x":' + "9" * 4301, "7", ""),
        *(r'"x":"\ud800"', r'"x":"\\ud800"', r'"x":"\ud83d\ude00"', r'"\udc00":1'),
        *(r'"\u0069d":"e-9"', '"id":7', '"type":"x"', '"data":{}'),
        *('"x":' + "[" * 200 + "]" * 200, '"x":' + "[" * 199 + "{}" + "]" * 199),
        *('"x":' + '{"a":' * 199 + "1" + "}" * 199, '"x":' + '{"a":' * 200 + "1" + "}" * 200),
    ]
)
raw_pieces = st.sampled_from(
    [
        *(b"NaN", b"Infinity", b"1e999", b"null", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"|"),
        *(rb"\ud800", rb"\u0000", b"\xff", b"\0", b"\n", b" ", b"\xef\xbb\xbf", b"\xe2\x80\x8d", b"\xc2\xa0"),
    ]
)


def topics_for(kind: str) -> st.SearchStrategy[Topic]:
    """The right topic for a type, mostly."""
    return st.just(TOPIC_OF_TYPE[kind]) | st.just(TOPIC_OF_TYPE[kind]) | topics


@st.composite
def changed_events(draw: st.DrawFn) -> tuple[bytes, Topic]:
    """An event with some fields removed or set to anything, and a member appended as it is written."""
    kind = draw(kinds)
    event = document(kind)
    data = event["data"]
    for field in draw(st.lists(fields, max_size=2)):
        target = data if field in data or draw(st.booleans()) else event
        if draw(st.booleans()):
            target.pop(field, None)
        else:
            target[field] = draw(texts | json_values)
    if draw(st.booleans()):
        event["time"] = draw(times)
    value = json.dumps(event, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    for member in draw(st.lists(raw_members, max_size=1)):
        value = value[:-1] + b"," + member.encode() + b"}"
    return value, draw(topics_for(kind))


@st.composite
def damaged_events(draw: st.DrawFn) -> tuple[bytes, Topic]:
    """An event's bytes with pieces cut out and put in."""
    kind = draw(kinds)
    value = bytearray(changed(kind))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        value[start : start + draw(st.integers(0, 3))] = draw(raw_pieces | st.binary(max_size=3))
    return bytes(value), draw(topics_for(kind))


def outcome(value: bytes, topic: Topic) -> Verdict:
    try:
        return decode(value, topic)[1]
    except Rejected as rejected:
        return rejected.reason, rejected.field


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), topics)
@example(b"[" * 100_000, Topic.CONVERSATION)
@example(b'{"":' * 100_000, Topic.CONVERSATION)
@example(b'"' + rb"\ud800" * 100_000 + b'"', Topic.CONVERSATION)
def test_any_bytes(value: bytes, topic: Topic) -> None:
    assert outcome(value, topic) == verdict(value, topic)


@settings(max_examples=300, deadline=None)
@given(json_values, topics)
def test_any_json(document: Any, topic: Topic) -> None:
    value = json.dumps(document).encode()
    assert outcome(value, topic) == verdict(value, topic)


@settings(max_examples=1000, deadline=None)
@given(changed_events())
def test_events_with_changed_fields(record: tuple[bytes, Topic]) -> None:
    assert outcome(*record) == verdict(*record)


@settings(max_examples=1000, deadline=None)
@given(damaged_events())
def test_events_with_damaged_bytes(record: tuple[bytes, Topic]) -> None:
    assert outcome(*record) == verdict(*record)
