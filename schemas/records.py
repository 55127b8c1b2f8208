"""The session record: what the product gives out (billing-rules.md section 8), in its NDJSON form.

Its fields are listed here once, for the sinks and the command line. No billing rule and no I/O here.
"""

from typing import Final, Literal, NamedTuple, NotRequired, TypedDict

from schemas.times import format_time_ms

__all__ = ["FIELDS", "RecordField", "SessionRecord", "format_time_ms", "sort_key"]


class SessionRecord(TypedDict):
    """One billable session; the fields that only one kind has are absent from the other."""

    session_id: str
    kind: Literal["usage", "alert"]
    account_id: str
    bot_id: str
    user_id: str
    channel: str
    conversation_id: NotRequired[str]
    delivery_id: NotRequired[str]
    session_started_at: NotRequired[str]
    block: NotRequired[int]
    started_at: str
    ended_at: str
    bot_ms: NotRequired[int]
    agent_ms: NotRequired[int]
    user_messages: NotRequired[int]
    bot_messages: NotRequired[int]
    status: Literal["open", "final", "void"]
    revision: int
    corrected_at: str | None
    algorithm: int


class RecordField(NamedTuple):
    """A field of the session record: its unit (or form), which kinds have it, and what it says."""

    name: str
    unit: str
    kinds: tuple[Literal["usage", "alert"], ...]
    meaning: str


_BOTH: Final[tuple[Literal["usage"], Literal["alert"]]] = ("usage", "alert")
_USAGE: Final[tuple[Literal["usage"]]] = ("usage",)
_ALERT: Final[tuple[Literal["alert"]]] = ("alert",)

FIELDS: Final = (
    RecordField("session_id", "uuid", _BOTH, "the same bill has the same ids on every machine, for ever"),
    RecordField("kind", "text", _BOTH, "usage or alert"),
    RecordField("account_id", "text", _BOTH, "who pays"),
    RecordField("bot_id", "text", _BOTH, "the bot that talked"),
    RecordField("user_id", "text", _BOTH, "of the session's first user message, or of the first report"),
    RecordField("channel", "text", _BOTH, "of the session's first user message, or of the first report"),
    RecordField("conversation_id", "text", _USAGE, "the conversation"),
    RecordField("delivery_id", "text", _ALERT, "the delivery, which is the alert session's identity"),
    RecordField("session_started_at", "time", _USAGE, "the start of the conversation session"),
    RecordField("block", "count", _USAGE, "the number of the block on its session's grid, from 1"),
    RecordField("started_at", "time", _BOTH, "the start of the block, or the first report"),
    RecordField("ended_at", "time", _BOTH, "the end of the block, or the first report"),
    RecordField("bot_ms", "ms", _USAGE, "the block's length on the bot clock"),
    RecordField("agent_ms", "ms", _USAGE, "the block's wall length less bot_ms: time with a human agent"),
    RecordField("user_messages", "count", _USAGE, "the user's messages to the bot in the block"),
    RecordField("bot_messages", "count", _USAGE, "the bot's messages in the block"),
    RecordField("status", "text", _BOTH, "open (may still grow), final (billed) or void (was there, is not)"),
    RecordField("revision", "count", _BOTH, "the size of the set of facts when the record last changed"),
    RecordField("corrected_at", "time or null", _BOTH, "when a final record was last changed"),
    RecordField("algorithm", "count", _BOTH, "version of the rule's code that computed the record"),
)
"""Every field in the order in which records show them; times are RFC 3339 UTC with milliseconds."""


def sort_key(record: SessionRecord) -> tuple[str, str, str, str, str, str]:
    """Order records by account, bot, kind, conversation or delivery, start, and id, by code point."""
    subject = record["delivery_id"] if record["kind"] == "alert" else record["conversation_id"]
    return (
        record["account_id"],
        record["bot_id"],
        record["kind"],
        subject,
        record["started_at"],
        record["session_id"],
    )
