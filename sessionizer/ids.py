"""The ids of session records: UUIDs made of the record's own name, the same on every machine, for ever."""

from typing import Final
from uuid import NAMESPACE_DNS, UUID, uuid5

_NAMESPACE: Final = uuid5(NAMESPACE_DNS, "quarterhour")


def usage_session_id(account_id: str, bot_id: str, conversation_id: str, start_ms: int, block: int) -> UUID:
    """Return the id of a block of the session that starts at `start_ms`."""
    return uuid5(_NAMESPACE, f"usage|{account_id}|{bot_id}|{conversation_id}|{start_ms}|{block}")


def alert_session_id(account_id: str, bot_id: str, delivery_id: str) -> UUID:
    """Return the id of the one session of an alert delivery."""
    return uuid5(_NAMESPACE, f"alert|{account_id}|{bot_id}|{delivery_id}")
