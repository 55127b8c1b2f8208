"""The event contract: CloudEvents 1.0 of six types, as TypedDicts that pydantic validates in one step.

This is the shape of events and nothing else: no reading (schemas.decode), no time arithmetic (schemas.times).
Fields stand in the order in which a fault is reported. Extra fields are ignored, and dropped, at both levels.
"""

from typing import Annotated, Any, Final, Literal, NotRequired, final, get_args, get_type_hints

from msgspec import Meta
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on only

MAX_CHARACTERS: Final = 200
"""Of an id, the channel and the reason of a close; in code points."""
FORBIDDEN_CHARACTERS: Final = r"|\u0000-\u001f\u007f-\u009f"
"""Not in an id or channel: `|`, which joins the parts of a key, and control characters (category Cc)."""
TIME_PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)

Id = Annotated[
    str,
    Field(min_length=1, max_length=MAX_CHARACTERS, pattern=f"^[^{FORBIDDEN_CHARACTERS}]*$"),
    Meta(min_length=1, max_length=MAX_CHARACTERS),
]
# Stated for the JSON Schema only: schemas.times checks all of it, real dates too, and faster.
Time = Annotated[str, Field(json_schema_extra={"format": "date-time", "pattern": TIME_PATTERN})]
CloseReason = Annotated[str, Field(max_length=MAX_CHARACTERS), Meta(max_length=MAX_CHARACTERS)]
Developer = Annotated[bool, Field(default=False)]
"""A developer's test traffic. Always present after validation."""

_STRICT = ConfigDict(strict=True, extra="ignore")


@final
class MessageData(TypedDict):
    """A message of a conversation."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    account_id: Id
    bot_id: Id
    conversation_id: Id
    user_id: Id
    channel: Id
    author: Literal["user", "bot", "agent"]
    developer: Developer


@final
class ClosedData(TypedDict):
    """The end of a conversation, as its platform saw it; the reason is free text."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    account_id: Id
    bot_id: Id
    conversation_id: Id
    user_id: Id
    channel: Id
    reason: NotRequired[CloseReason]
    developer: Developer


@final
class HandoffData(TypedDict):
    """A handoff of a conversation to a human agent, or back."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    account_id: Id
    bot_id: Id
    conversation_id: Id
    user_id: Id
    channel: Id
    handoff_id: Id
    developer: Developer


@final
class AlertData(TypedDict):
    """A report on the delivery of an alert."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    account_id: Id
    bot_id: Id
    user_id: Id
    channel: Id
    alert_id: Id
    delivery_id: Id
    developer: Developer


class Envelope(TypedDict):
    """What every event has, beside its type and data."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    specversion: Literal["1.0"]
    id: Id
    source: Id
    time: Time


@final
class Message(Envelope):
    """A message was sent, by the user, the bot or a human agent."""

    type: Literal["conversation.message.v1"]
    data: MessageData


@final
class Closed(Envelope):
    """A conversation was closed."""

    type: Literal["conversation.closed.v1"]
    data: ClosedData


@final
class HandoffStarted(Envelope):
    """A human agent took a conversation over from the bot."""

    type: Literal["handoff.started.v1"]
    data: HandoffData


@final
class HandoffEnded(Envelope):
    """The bot took a conversation back from a human agent."""

    type: Literal["handoff.ended.v1"]
    data: HandoffData


@final
class AlertDelivered(Envelope):
    """An alert was delivered."""

    type: Literal["alert.delivered.v1"]
    data: AlertData


@final
class AlertFailed(Envelope):
    """The delivery of an alert failed."""

    type: Literal["alert.failed.v1"]
    data: AlertData


ConversationEvent = Annotated[Message | Closed, Field(discriminator="type")]
HandoffEvent = Annotated[HandoffStarted | HandoffEnded, Field(discriminator="type")]
AlertEvent = Annotated[AlertDelivered | AlertFailed, Field(discriminator="type")]
Event = Message | Closed | HandoffStarted | HandoffEnded | AlertDelivered | AlertFailed

MODELS: Final[tuple[type, ...]] = (
    Message,
    Closed,
    HandoffStarted,
    HandoffEnded,
    AlertDelivered,
    AlertFailed,
)


def fields_of(model: type) -> dict[str, Any]:
    """Return an event's dotted fields with their annotations, in the order in which faults are reported."""
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(model, include_extras=True).items():
        fields[name] = hint
        if name == "data":
            nested = get_type_hints(hint, include_extras=True)
            fields |= {f"data.{inner}": annotation for inner, annotation in nested.items()}
    return fields


def type_of(model: type) -> str:
    """Return the value of `type` that a model stands for."""
    return str(get_args(fields_of(model)["type"])[0])
