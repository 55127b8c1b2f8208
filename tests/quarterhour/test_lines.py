"""Events in files: lines, and the topic that a line's type belongs to."""

import io
import json
import os

import pytest

from quarterhour.lines import decode_line, read_chunks, read_lines, topic_by_parsing
from schemas.decode import Rejected
from schemas.reasons import Reason
from schemas.topics import TOPIC_OF_TYPE, Topic
from tests.schemas.examples import changed, document


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"\n", [b""]),
        (b"a\r\nb", [b"a\r", b"b"]),
        (b"a" * 1_000_000 + b"\nb\n", [b"a" * 1_000_000, b"b"]),
    ],
    ids=["nothing", "no line end", "a line end", "an empty line", "only a line end", "CRLF", "a long line"],
)
def test_a_line_ends_at_each_line_feed(content: bytes, lines: list[bytes]) -> None:
    assert list(read_lines(io.BytesIO(content))) == lines


def test_what_a_pipe_holds_is_had_without_waiting_for_more() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as end:
        chunks = read_chunks(pipe)
        end.write(b"one\ntwo\nthr")
        assert next(chunks) == [b"one", b"two"]
        end.write(b"ee\n")
        assert next(chunks) == [b"three"]


def test_the_bytes_read_are_told() -> None:
    told: list[int] = []
    list(read_chunks(io.BytesIO(b"one\ntwo"), told.append))
    assert sum(told) == 7


@pytest.mark.parametrize("kind", TOPIC_OF_TYPE)
def test_the_type_of_a_line_decides_its_topic(kind: str) -> None:
    event, _, topic = decode_line(changed(kind))
    assert (event["type"], topic) == (kind, TOPIC_OF_TYPE[kind])


def test_another_type_before_the_event_s_own_misleads_nobody() -> None:
    event = {"extra": {"type": "alert.failed.v1"}} | document("handoff.started.v1")
    assert decode_line(json.dumps(event).encode())[2] is Topic.AGENT_HANDOFF


@pytest.mark.parametrize("escaped", [rb'"\u0074ype"', b'"type"'])
def test_an_escaped_name_is_the_same_name(escaped: bytes) -> None:
    line = changed("alert.failed.v1").replace(b'"type"', escaped)
    assert decode_line(line)[2] is Topic.ALERT_DELIVERY


def test_the_reason_is_that_of_the_topic_of_its_type() -> None:
    event = {"extra": {"type": "alert.failed.v1"}} | document("handoff.started.v1")
    del event["data"]["handoff_id"]
    with pytest.raises(Rejected) as caught:
        decode_line(json.dumps(event).encode())
    assert (caught.value.reason, caught.value.field) == (Reason.MISSING_FIELD, "data.handoff_id")


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b'{"type":[]}', b'{"type":7}', b"\xff", b"[" * 100_000],
    ids=lambda line: repr(line[:20]),
)
def test_a_line_without_a_known_type_belongs_to_conversations(line: bytes) -> None:
    assert topic_by_parsing(line) is Topic.CONVERSATION
    with pytest.raises(Rejected):
        decode_line(line)
