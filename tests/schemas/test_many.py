"""Many values at once: what is read in ordinary form is what `decode` gives, and all else is left to it."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import Rejected, decode
from schemas.many import LONGEST_BYTES, OrdinaryEvent, decode_many, ordinary_form
from schemas.reasons import Reason
from schemas.topics import TOPIC_OF_TYPE, Topic
from tests.schemas.examples import (
    BAD,
    CLOSED,
    DELIVERED,
    FAILED,
    GOOD,
    MESSAGE,
    STARTED,
    TIME,
    changed,
    with_raw,
)
from tests.schemas.test_hostile_values import changed_events, damaged_events, raw_pieces

VALUES = {example.name: example.value for example in (*GOOD, *BAD)}
COMPANY = [changed(kind) for kind in (MESSAGE, CLOSED, STARTED, DELIVERED, FAILED)]

# What two parsers of JSON may judge differently, each as a member's value in an event of ordinary length.
RAW = (
    *("0", "-0", "-", "+1", ".5", "1.", "1.e1", "1e", "1e+", "1E5", "01", "-01", "00", "0x1", "1_0", "1e999"),
    *("9" * 300, "-" + "9" * 300, "0." + "9" * 300, "1e-999", "Infinity", "-Infinity", "NaN", "nan", "-NaN"),
    *(
        "nul",
        "nulL",
        "tru",
        "True",
        "fals",
        "None",
        "undefined",
        "",
        "'a'",
        "[1,]",
        '{"a":1,}',
        "[,1]",
        "{,}",
    ),
    *(
        "[1 2]",
        '{"a" 1}',
        '{"a"}',
        "{1:2}",
        "[",
        "]",
        '{"a":1',
        "1 1",
        "/**/1",
        "1//",
        '"\t"',
        '"\x1f"',
        '"\0"',
    ),
    *('{"a\nb":1}', '"\x0b"', "\x0b1", "\x0c1", "\xa01", "\u20281", "\ufeff1", '"\x7f"', '"\x80"', '"\x9f"'),
    *('"\xa0"', '"\ufeff"', '"\uffff"', '"\U0010ffff"', r'"\u0041"', r'"\x41"', r'"\u00"', '"', '"a', "[[]]"),
)
TAILS = (b"", b" ", b"\n", b"\0", b"}", b",", b"{}", b"\x0c", b"\xc2\xa0", b"\xef\xbb\xbf", b"null", b"\xff")


def expected_of(value: bytes | None, topic: Topic) -> OrdinaryEvent | None:
    """The event in ordinary form, with its time as it was sent, be it none; None if it is refused."""
    try:
        return ordinary_form(decode(value, topic)[0])
    except Rejected as rejected:
        if rejected.reason is not Reason.INVALID_TIME:
            return None
    document = json.loads(value or b"", parse_float=str, parse_int=str)
    event, _ = decode(json.dumps(document | {"time": TIME}).encode(), topic)
    return ordinary_form(event | {"time": document["time"]})  # type: ignore[arg-type]


def check(values: Sequence[bytes | None], topic: Topic) -> list[int]:
    """Each value's event is what `decode` says of it, or it is left; return the places left."""
    events, left = decode_many(values, topic)
    assert len(events) == len(values)
    assert left == [place for place, event in enumerate(events) if event is None]
    for value, event in zip(values, events, strict=True):
        if event is not None:
            expected = expected_of(value, topic)
            assert event == expected and type(event) is type(expected)
            assert type(event.data) is type(expected.data) and hash(event.data) == hash(expected.data)
    return left


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_an_example_alone_is_read_as_by_decode_or_left(value: bytes) -> None:
    for topic in Topic:
        check([value], topic)


@pytest.mark.parametrize("topic", Topic)
def test_all_examples_together_are_read_as_each_alone(topic: Topic) -> None:
    values = [None, *VALUES.values(), *COMPANY, b""] * 2
    left = check(values, topic)
    assert left == [place for place, value in enumerate(values) if check([value], topic)]


@pytest.mark.parametrize("kind", [MESSAGE, CLOSED, STARTED, DELIVERED, FAILED])
def test_an_event_of_ordinary_form_is_not_left_whatever_stands_beside_it(kind: str) -> None:
    ordinary = [
        changed(kind),
        changed(kind, data__developer=True),
        changed(kind, data__user_id="ü-17").replace(rb"\u00fc", "ü".encode()),
        changed(kind, extra={"a": [1, None]}, data__extra=[True]),
        changed(kind).ljust(LONGEST_BYTES),
    ]
    assert check(ordinary, TOPIC_OF_TYPE[kind]) == []
    odd = [None, b"", b"{", changed(kind).ljust(LONGEST_BYTES + 1), changed(kind, id=r"\\"), b"\xff"]
    for count in (1, 20):
        mixed = [value for pair in zip(ordinary * count, (odd * 5 * count), strict=False) for value in pair]
        assert check(mixed, TOPIC_OF_TYPE[kind]) == list(range(1, 2 * len(ordinary) * count, 2))


def test_nothing_is_read_of_nothing() -> None:
    assert decode_many([], Topic.CONVERSATION) == ([], [])


@pytest.mark.parametrize("raw", RAW)
def test_what_parsers_judge_differently_is_read_as_by_decode_or_left(raw: str) -> None:
    in_place_of_id = changed(id="@").replace(b'"@"', raw.encode())
    in_place_of_developer = changed(data__developer="@").replace(b'"@"', raw.encode())
    check([with_raw(raw), in_place_of_id, in_place_of_developer, raw.encode()], Topic.CONVERSATION)


@pytest.mark.parametrize("tail", TAILS)
def test_what_stands_around_an_event_is_judged_as_by_decode_or_left(tail: bytes) -> None:
    check([changed() + tail, tail + changed(), tail], Topic.CONVERSATION)


@pytest.mark.parametrize("depth", [*range(195, 206), 400])
def test_depth_is_judged_as_by_decode_or_left(depth: int) -> None:
    pairs = (("[", "]"), ('{"a":', "}"))
    for opening, closing in pairs:
        value = with_raw(opening * depth + "1" + closing * depth)
        check([value, value.replace(b" ", b"")], Topic.CONVERSATION)
    check([b"[" * depth, b"[" * depth + b"]" * depth], Topic.CONVERSATION)


values = st.one_of(
    (changed_events() | damaged_events()).map(lambda record: record[0]),
    st.sampled_from(COMPANY),
    st.none() | st.binary(max_size=20),
    st.builds(
        lambda raw, kind: with_raw(raw, kind), raw_pieces, st.sampled_from([MESSAGE, STARTED, DELIVERED])
    ),
)


@settings(max_examples=1000, deadline=None)
@given(values, st.sampled_from(Topic))
def test_any_value_alone_is_read_as_by_decode_or_left(value: bytes | None, topic: Topic) -> None:
    check([value], topic)


@settings(max_examples=300, deadline=None)
@given(st.lists(values, max_size=40), st.sampled_from(Topic))
def test_any_values_together_are_read_as_each_alone(together: list[bytes | None], topic: Topic) -> None:
    assert check(together, topic) == [place for place, value in enumerate(together) if check([value], topic)]
