"""One input of the fuzz: a Kafka record on one of the three topics, as bytes that a file can hold.

What stands around the value is partly relative, so that a change of the value does not always end at the same
check: the right key can be asked for, and a timestamp beside the event's own time.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from schemas.topics import Topic

TOPICS = tuple(Topic)
MOST_VALUE_BYTES = 6_000
"""Before the expansion: longer values are cut off, or inputs would grow and the fuzz would crawl."""
MOST_EXPANDED_BYTES = 1_200_000
"""A little more than the largest value that is parsed at all."""

_HEADER = Struct(">BBBBqHHHI")
_NO_VALUE = 16


class Key(IntEnum):
    """Which key a record has."""

    RIGHT = 0
    NONE = 1
    GIVEN = 2


class Clock(IntEnum):
    """What a record's timestamp is counted from."""

    EVENT_TIME = 0
    EPOCH = 1


class Expansion(NamedTuple):
    """A piece of the value that comes many times, so that an input of a megabyte is a few bytes."""

    start: int = 0
    length: int = 0
    times: int = 1


class Input(NamedTuple):
    """One input; `value` is the value before its expansion."""

    topic: Topic
    value: bytes | None
    key: bytes = b""
    key_mode: Key = Key.RIGHT
    timestamp_ms: int = 0
    clock: Clock = Clock.EVENT_TIME
    partitions: int = 1
    expansion: Expansion = Expansion()

    def pack(self) -> bytes:
        """The bytes that `unpack` reads."""
        key = self.key[:65_535]
        modes = self.key_mode | (_NO_VALUE if self.value is None else 0)
        header = _HEADER.pack(
            *(TOPICS.index(self.topic), modes, self.clock, self.partitions, self.timestamp_ms, len(key)),
            *self.expansion,
        )
        return header + key + (self.value or b"")

    @classmethod
    def unpack(cls, packed: bytes) -> Input:
        """The input that these bytes stand for; any bytes stand for one."""
        header = packed[: _HEADER.size].ljust(_HEADER.size, b"\0")
        topic, modes, clock, partitions, timestamp_ms, key_bytes, *expansion = _HEADER.unpack(header)
        rest = packed[_HEADER.size :]
        return cls(
            topic=TOPICS[topic % len(TOPICS)],
            value=None if modes & _NO_VALUE else rest[key_bytes:],
            key=rest[:key_bytes],
            key_mode=Key((modes & ~_NO_VALUE) % len(Key)),
            timestamp_ms=timestamp_ms,
            clock=Clock(clock % len(Clock)),
            partitions=1 + (partitions - 1) % 2,
            expansion=Expansion(*expansion),
        )

    def expanded(self) -> bytes | None:
        """The value with its piece repeated."""
        start, length, times = self.expansion
        if not self.value or times == 1 or not length:
            return self.value
        piece = self.value[start : start + length]
        most = (MOST_EXPANDED_BYTES - len(self.value)) // max(1, len(piece))
        return self.value[:start] + piece * min(times, most) + self.value[start + length :]
