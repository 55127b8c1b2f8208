"""Events in files: one a line (NDJSON), for the commands that read them.

In Kafka the topic says which types a record may have; in a file the type says which topic it belongs to.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO

from schemas.decode import Rejected, decode
from schemas.events import Event
from schemas.topics import TOPIC_OF_TYPE, Topic

CHUNK_BYTES = 1 << 18

# Finds the type without parsing the line. A misleading match is put right in `decode_line`.
_TYPE = re.compile(rb'"type"\s*:\s*"([a-z0-9.]*)"')
_TOPIC_OF_TYPE = {kind.encode(): topic for kind, topic in TOPIC_OF_TYPE.items()}


def read_chunks(
    file: BinaryIO, advance: Callable[[int], None] = lambda _bytes: None
) -> Iterator[list[bytes]]:
    """Yield the file's lines without line ends, as many at a time as can be had without waiting for more.

    `advance` is told the number of bytes read.
    """
    rest = b""
    read = getattr(file, "read1", file.read)
    while data := read(CHUNK_BYTES):
        advance(len(data))
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file's lines without line ends."""
    for chunk in read_chunks(file):
        yield from chunk


def decode_line(line: bytes) -> tuple[Event, int, Topic]:
    """Decode one event: the event, its time in ms and the topic of its type; raises Rejected."""
    found = _TYPE.search(line)
    topic = _TOPIC_OF_TYPE.get(found[1], Topic.CONVERSATION) if found else Topic.CONVERSATION
    try:
        return *decode(line, topic), topic
    except Rejected:
        parsed = topic_by_parsing(line)
        if parsed is topic:
            raise
    return *decode(line, parsed), parsed


def topic_by_parsing(line: bytes) -> Topic:
    """The topic of a line's type, good or bad; the conversation topic if none can be found."""
    with suppress(ValueError, RecursionError, AttributeError, TypeError):
        return TOPIC_OF_TYPE.get(json.loads(line).get("type"), Topic.CONVERSATION)
    return Topic.CONVERSATION
