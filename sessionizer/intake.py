"""Which events count (section 1): from a valid event to a fact or a report, or to nothing.

Test traffic is the caller's to set aside first, so that it competes with no fact. No reading of bytes here.
"""

from typing import Final

from schemas.events import AlertDelivered, AlertFailed, Closed, HandoffEnded, HandoffStarted, Message
from sessionizer.alerts import Report
from sessionizer.facts import (
    BOT_MESSAGE,
    CLOSED,
    HANDOFF_ENDED,
    HANDOFF_STARTED,
    USER_MESSAGE,
    NewFact,
    identity_of,
)

REPORTED: Final = "alert.delivered.v1"
_KINDS: Final[dict[str, int | dict[str | None, int]]] = {
    "conversation.message.v1": {"user": USER_MESSAGE, "bot": BOT_MESSAGE},
    "conversation.closed.v1": CLOSED,
    "handoff.started.v1": HANDOFF_STARTED,
    "handoff.ended.v1": HANDOFF_ENDED,
}


def kind_of(event_type: str, author: str | None) -> int | None:
    """Return the kind of fact that a conversation's event is; None for a human agent's message (unbilled).

    `author` is a message's; of other events it counts for nothing.
    """
    kind = _KINDS[event_type]
    return kind.get(author) if isinstance(kind, dict) else kind


def fact_of(event: Message | Closed | HandoffStarted | HandoffEnded, time_ms: int) -> NewFact | None:
    """Return the fact that a conversation's event is; None for a human agent's message (unbilled)."""
    author = event["data"]["author"] if event["type"] == "conversation.message.v1" else None
    kind = kind_of(event["type"], author)
    if kind is None:
        return None
    handoff_id = ""
    if event["type"] == "handoff.started.v1" or event["type"] == "handoff.ended.v1":
        handoff_id = event["data"]["handoff_id"]
    identity = identity_of(event["source"], event["id"])
    return time_ms, kind, identity, handoff_id, event["data"]["user_id"], event["data"]["channel"]


def report_of(event: AlertDelivered | AlertFailed, time_ms: int) -> Report | None:
    """Return the report that a delivery's event is; None for a failed one (unbilled)."""
    if event["type"] != REPORTED:
        return None
    return Report(time_ms, event["data"]["user_id"], event["data"]["channel"])
