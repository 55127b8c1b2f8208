"""The ids of session records: UUIDs made of the record's own name, the same on every machine, for ever."""

from hashlib import sha1
from typing import Final
from uuid import NAMESPACE_DNS, UUID, uuid5

_NAMESPACE: Final = uuid5(NAMESPACE_DNS, "quarterhour")
_BEGUN: Final = sha1(_NAMESPACE.bytes, usedforsecurity=False)


def usage_session_id(account_id: str, bot_id: str, conversation_id: str, start_ms: int, block: int) -> UUID:
    """Return the id of a block of the session that starts at `start_ms`."""
    return UUID(bytes=usage_session_bytes(account_id, bot_id, conversation_id, start_ms, block))


def usage_session_bytes(
    account_id: str, bot_id: str, conversation_id: str, start_ms: int, block: int
) -> bytes:
    """Return the 16 bytes of that id: what `uuid5` makes, at a third of its cost."""
    state = _BEGUN.copy()
    state.update(f"usage|{account_id}|{bot_id}|{conversation_id}|{start_ms}|{block}".encode())
    made = bytearray(state.digest()[:16])
    made[6] = made[6] & 0x0F | 0x50  # version 5
    made[8] = made[8] & 0x3F | 0x80  # the variant of RFC 9562
    return bytes(made)


def alert_session_id(account_id: str, bot_id: str, delivery_id: str) -> UUID:
    """Return the id of the one session of an alert delivery."""
    return uuid5(_NAMESPACE, f"alert|{account_id}|{bot_id}|{delivery_id}")
