"""Bytes in, a typed event or a reason out."""

import json
from unicodedata import category

import pytest

from schemas.decode import MAX_VALUE_BYTES, Rejected, decode
from schemas.reasons import MAX_DETAIL_CHARACTERS, Reason
from schemas.topics import Topic
from tests.schemas.examples import BAD, GOOD, TIME_MS, Bad, Good, changed, document
from tests.schemas.second_decoder import verdict

good_examples = pytest.mark.parametrize("example", GOOD, ids=[example.name for example in GOOD])
bad_examples = pytest.mark.parametrize("example", BAD, ids=[example.name for example in BAD])

# Reasons that decode() cannot find: they need the record around the value, or the conversation.
FOUND_ELSEWHERE = {
    Reason.TIME_AHEAD,
    Reason.TIME_BEHIND,
    Reason.WRONG_KEY,
    Reason.WRONG_PARTITION,
    Reason.TOO_OLD,
}


def rejection(value: bytes | None, topic: Topic = Topic.CONVERSATION) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decode(value, topic)
    return caught.value


@good_examples
def test_a_good_value_gives_its_event_and_time(example: Good) -> None:
    event, time_ms = decode(example.value, example.topic)
    given = json.loads(example.value)
    assert time_ms == example.time_ms
    assert event["type"] == given["type"]
    assert event["data"] == {"developer": False} | {
        name: given["data"][name] for name in event["data"] if name in given["data"]
    }


@bad_examples
def test_a_bad_value_gives_its_reason_and_field(example: Bad) -> None:
    rejected = rejection(example.value, example.topic)
    assert (rejected.reason, rejected.field) == (example.reason, example.field)


@bad_examples
def test_a_detail_is_short_and_printable(example: Bad) -> None:
    detail = rejection(example.value, example.topic).detail
    assert len(detail) <= MAX_DETAIL_CHARACTERS
    assert detail.isascii()
    assert not detail or detail.isprintable()


@good_examples
def test_the_second_decoder_takes_what_the_first_takes(example: Good) -> None:
    assert verdict(example.value, example.topic) == example.time_ms


@bad_examples
def test_the_second_decoder_gives_the_same_reason_and_field(example: Bad) -> None:
    assert verdict(example.value, example.topic) == (example.reason, example.field)


def test_an_id_may_hold_every_character_but_the_bar_and_controls() -> None:
    """All of Unicode, 200 characters an id; chr() of a surrogate cannot be encoded."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    allowed = [c for c in characters if c != "|" and category(c) != "Cc"]
    for start in range(0, len(allowed), 200):
        text = "".join(allowed[start : start + 200])
        assert decode(changed(source=text), Topic.CONVERSATION)[0]["source"] == text
    forbidden = sorted(set(characters) - set(allowed))
    assert len(forbidden) == 66
    for character in forbidden:
        rejected = rejection(changed(source=f"a{character}"))
        assert rejected.reason is Reason.FORBIDDEN_CHARACTER
        assert rejected.detail == f"U+{ord(character):04X} at character 2"


def test_a_value_that_is_null_is_empty() -> None:
    assert rejection(None).reason is Reason.EMPTY_VALUE


def test_the_event_holds_the_fields_of_its_type_and_no_others() -> None:
    event, time_ms = decode(changed(extra=1, data__extra=2, data__handoff_id="h"), Topic.CONVERSATION)
    expected = document()
    expected["data"]["developer"] = False
    assert (event, time_ms) == (expected, TIME_MS)


def test_of_an_id_given_twice_the_last_one_is_in_the_event() -> None:
    event, _ = decode(changed()[:-1] + b',"id":"e-2"}', Topic.CONVERSATION)
    assert event["id"] == "e-2"


def test_the_size_is_looked_at_before_anything_is_parsed() -> None:
    assert rejection(b"\xff" * (MAX_VALUE_BYTES + 1)).reason is Reason.TOO_LARGE
    assert rejection(b"\xff" * MAX_VALUE_BYTES).reason is Reason.NOT_UNICODE


def test_a_detail_quotes_only_the_start_of_a_text() -> None:
    assert rejection(changed(type="x" * 1000)).detail == repr("x" * 60 + "...")


def test_a_detail_says_what_is_wrong() -> None:
    details = {
        "it is a number": changed(id=7),
        "201 characters, at most 200 are allowed": changed(id="x" * 201),
        "U+007C at character 2": changed(id="a|"),
        "invalid UTF-8 at byte 1": b"{\xff}",
        "conversation.message.v1 belongs to topic conversation": changed(),
    }
    for detail, value in details.items():
        topic = Topic.AGENT_HANDOFF if "belongs" in detail else Topic.CONVERSATION
        assert rejection(value, topic).detail == detail


def test_every_reason_has_a_bad_example_or_is_found_elsewhere() -> None:
    assert {example.reason for example in BAD} == set(Reason) - FOUND_ELSEWHERE


def test_examples_are_told_apart_by_name() -> None:
    names = [example.name for example in [*GOOD, *BAD]]
    assert len(names) == len(set(names))
    assert len(BAD) >= 60
