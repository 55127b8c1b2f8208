"""Why a record became a dead letter: the one list of reason codes, and the exception that carries one.

A code never changes its meaning: people script against it, and dead letters are kept under it for years.
No logic here beyond the list.
"""

from enum import StrEnum
from typing import Final

MAX_DETAIL_CHARACTERS: Final = 200


class Reason(StrEnum):
    """A dead letter's reason code, with what it means and what its producer should do."""

    meaning: str
    what_to_do: str

    def __new__(cls, code: str, meaning: str, what_to_do: str) -> "Reason":
        """Make a member whose value is its code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.what_to_do = what_to_do
        return member

    EMPTY_VALUE = (
        "empty_value",
        "the record has no value: null, or no bytes",
        "send one event a record; these topics take no tombstones",
    )
    TOO_LARGE = (
        "too_large",
        "the value is larger than 1 MiB",
        "send the fields of the contract only; an event needs less than 1 KiB",
    )
    NOT_UNICODE = (
        "not_unicode",
        "the value is not UTF-8, or a text in it holds a lone surrogate",
        "encode the JSON as UTF-8, and escape a character beyond U+FFFF as a pair of surrogates",
    )
    NOT_JSON = (
        "not_json",
        "the value is not one JSON document (RFC 8259)",
        "send one JSON object without byte order mark, NaN, Infinity, or nesting beyond 200 levels",
    )
    NOT_CLOUDEVENTS = (
        "not_cloudevents",
        'the document is not an object with "specversion": "1.0"',
        "send CloudEvents 1.0 in structured JSON",
    )
    UNKNOWN_TYPE = (
        "unknown_type",
        "no event type of the contract has this name",
        "correct `type`, or name it in IGNORED_TYPES if it is not meant for billing",
    )
    WRONG_TOPIC = (
        "wrong_topic",
        "the event's type belongs to another topic",
        "send each type to its own topic",
    )
    MISSING_FIELD = (
        "missing_field",
        "a required field is absent",
        "send the field",
    )
    WRONG_TYPE = (
        "wrong_type",
        "a field holds another JSON type than the contract says; null is one too",
        "send the field with the type of the contract; leave an optional one out rather than null",
    )
    EMPTY_FIELD = (
        "empty_field",
        "an id or the channel is the empty text",
        "send at least one character",
    )
    TOO_LONG = (
        "too_long",
        "a text has more than 200 characters (code points)",
        "send a shorter text, the same one wherever the id is used",
    )
    FORBIDDEN_CHARACTER = (
        "forbidden_character",
        "an id or the channel holds `|` or a control character",
        "remove the character, or replace it, wherever the id is used",
    )
    UNKNOWN_VALUE = (
        "unknown_value",
        "a field's text is none of those the contract lists",
        "send one of the listed values",
    )
    INVALID_TIME = (
        "invalid_time",
        "`time` is not a moment in RFC 3339 with an offset",
        "send for instance 2026-10-03T09:00:00.000Z: capital T and Z, a real date, seconds 00 to 59",
    )
    TIME_AHEAD = (
        "time_ahead",
        "`time` is too far ahead of the moment at which the broker took the record (MAX_AHEAD)",
        "set the producer's clock; send the time at which the event happened",
    )
    TIME_BEHIND = (
        "time_behind",
        "`time` is too far behind the moment at which the broker took the record (MAX_AGE)",
        "send the time at which the event happened; replay older events with a larger MAX_AGE",
    )
    WRONG_KEY = (
        "wrong_key",
        "the record's key is not the one that follows from its event",
        "use account_id|bot_id|conversation_id as key, or account_id|bot_id|delivery_id for an alert",
    )
    WRONG_PARTITION = (
        "wrong_partition",
        "the record lies on another partition than its key says",
        "let the producer partition by murmur2 of the key, as the Java client's default does",
    )
    TOO_OLD = (
        "too_old",
        "the event lies at or before the moment through which its conversation was sealed",
        "nothing: the bill up to that moment is settled for good",
    )


class Rejected(Exception):
    """A record that cannot be used: a dead letter with this reason; retrying it as it is cannot help."""

    def __init__(self, reason: Reason, field: str = "", detail: str = "") -> None:
        super().__init__(reason, field, detail)
        self.reason = reason
        self.field = field
        self.detail = detail[:MAX_DETAIL_CHARACTERS]

    def __str__(self) -> str:
        return ": ".join(part for part in (self.reason, self.field, self.detail) if part)
