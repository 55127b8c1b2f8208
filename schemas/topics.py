"""Topics, keys and partitions: where an event belongs in Kafka.

A key decides a partition, and a partition which worker sees a conversation: so this agrees with the Java
client's default partitioner to the bit. No I/O and no Kafka client here.
"""

from collections.abc import Sequence
from enum import StrEnum
from struct import unpack_from
from typing import Any, Final

import numpy as np

from schemas.events import Event


class Topic(StrEnum):
    """The role of a source topic; a deployment's settings may give the Kafka topic another name."""

    CONVERSATION = "conversation"
    AGENT_HANDOFF = "agent-handoff"
    ALERT_DELIVERY = "alert-delivery"


TOPIC_OF_TYPE: Final[dict[str, Topic]] = {
    "conversation.message.v1": Topic.CONVERSATION,
    "conversation.closed.v1": Topic.CONVERSATION,
    "handoff.started.v1": Topic.AGENT_HANDOFF,
    "handoff.ended.v1": Topic.AGENT_HANDOFF,
    "alert.delivered.v1": Topic.ALERT_DELIVERY,
    "alert.failed.v1": Topic.ALERT_DELIVERY,
}

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_MASK = 0xFFFFFFFF
_FACTOR_32 = np.uint32(_FACTOR)
_FEW_KEYS = 32


def murmur2(data: bytes) -> int:
    """Hash bytes as the Java Kafka client does, as an unsigned 32 bit number (Java's own is signed)."""
    length = len(data)
    state = _SEED ^ length
    for word in unpack_from(f"<{length >> 2}I", data):
        word = (word * _FACTOR) & _MASK
        state = ((state * _FACTOR) ^ ((word ^ (word >> 24)) * _FACTOR)) & _MASK
    if length & 3:
        tail = int.from_bytes(data[length & ~3 :], "little")
        state = ((state ^ tail) * _FACTOR) & _MASK
    state = ((state ^ (state >> 13)) * _FACTOR) & _MASK
    return state ^ (state >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that the Java client's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """Return the partition of each key: many at once take a quarter of the time."""
    if len(keys) < _FEW_KEYS:
        return [partition_of(key, partitions) for key in keys]
    lengths = np.fromiter(map(len, keys), np.uint32, len(keys))
    width = int(lengths.max()) // 4 + 1
    padded = b"".join([key.ljust(width * 4, b"\0") for key in keys])
    words = np.frombuffer(padded, "<u4").reshape(len(keys), width).T
    whole, has_rest = lengths // 4, lengths % 4 > 0
    state: Any = lengths ^ _SEED
    for place, word in enumerate(words):
        mixed = word * _FACTOR_32
        mixed = state * _FACTOR_32 ^ (mixed ^ mixed >> 24) * _FACTOR_32
        rest = np.where((place == whole) & has_rest, (state ^ word) * _FACTOR_32, state)
        state = np.where(place < whole, mixed, rest)
    state = (state ^ state >> 13) * _FACTOR_32
    found: list[int] = (((state ^ state >> 15) & 0x7FFFFFFF) % partitions).tolist()
    return found


def key_of(event: Event) -> bytes:
    """Return an event's Kafka key: account, bot and conversation (of an alert: delivery), joined by `|`."""
    data = event["data"]
    subject = data["delivery_id"] if "delivery_id" in data else data["conversation_id"]
    return join_key(data["account_id"], data["bot_id"], subject)


def join_key(account_id: str, bot_id: str, subject_id: str) -> bytes:
    """Return the key of these; ids hold no `|`."""
    return f"{account_id}|{bot_id}|{subject_id}".encode()
