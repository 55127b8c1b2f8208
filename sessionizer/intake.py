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

_KIND_OF_AUTHOR: Final = {"user": USER_MESSAGE, "bot": BOT_MESSAGE}


def fact_of(event: Message | Closed | HandoffStarted | HandoffEnded, time_ms: int) -> NewFact | None:
    """Return the fact that a conversation's event is; None for a human agent's message (unbilled)."""
    kind: int | None
    handoff_id = ""
    if event["type"] == "conversation.message.v1":
        kind = _KIND_OF_AUTHOR.get(event["data"]["author"])
        if kind is None:
            return None
    elif event["type"] == "conversation.closed.v1":
        kind = CLOSED
    else:
        kind = HANDOFF_ENDED if event["type"] == "handoff.ended.v1" else HANDOFF_STARTED
        handoff_id = event["data"]["handoff_id"]
    data = event["data"]
    identity = identity_of(event["source"], event["id"])
    return time_ms, kind, identity, handoff_id, data["user_id"], data["channel"]


def report_of(event: AlertDelivered | AlertFailed, time_ms: int) -> Report | None:
    """Return the report that a delivery's event is; None for a failed one (unbilled)."""
    if event["type"] == "alert.failed.v1":
        return None
    return Report(time_ms, event["data"]["user_id"], event["data"]["channel"])
