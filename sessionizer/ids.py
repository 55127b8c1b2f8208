"""The ids of session records: UUIDs made of the record's own name, the same on every machine, for ever."""

from collections.abc import Iterable
from hashlib import sha1
from typing import Final
from uuid import NAMESPACE_DNS, UUID, uuid5

import numpy as np

from sessionizer.packed import split

_NAMESPACE: Final = uuid5(NAMESPACE_DNS, "quarterhour")
_ID_BYTES: Final = 16


def usage_session_id(account_id: str, bot_id: str, conversation_id: str, start_ms: int, block: int) -> UUID:
    """Return the id of a block of the session that starts at `start_ms`."""
    return uuid5(_NAMESPACE, f"usage|{account_id}|{bot_id}|{conversation_id}|{start_ms}|{block}")


def usage_session_ids(sessions: Iterable[tuple[bytes, int, int]]) -> list[bytes]:
    """Return the 16 bytes of many such ids; account, bot and conversation are given joined by `|`."""
    names = [b"%busage|%b|%d|%d" % (_NAMESPACE.bytes, *session) for session in sessions]
    digests = b"".join([sha1(name, usedforsecurity=False).digest()[:_ID_BYTES] for name in names])
    made = np.frombuffer(digests, np.uint8).reshape(-1, _ID_BYTES).copy()
    made[:, 6] = made[:, 6] & 0x0F | 0x50  # version 5
    made[:, 8] = made[:, 8] & 0x3F | 0x80  # the variant of RFC 9562
    return split(made.tobytes(), _ID_BYTES)


def alert_session_id(account_id: str, bot_id: str, delivery_id: str) -> UUID:
    """Return the id of the one session of an alert delivery."""
    return uuid5(_NAMESPACE, f"alert|{account_id}|{bot_id}|{delivery_id}")
