"""The event that tells a producer of a rejected one: a CloudEvent too, but one that goes out.

Its id is where the rejected record lies, topic/partition/offset: so one that comes twice is known by it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NotRequired, final

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on only

from schemas.events import Envelope, Id
from schemas.times import format_time_ms

SOURCE: Final = "/quarterhour"
TYPE: Final = "event.rejected.v1"

Code = Annotated[str, Field(description="Reason code, as listed in schemas/reasons.py; more may be added")]
FieldName = Annotated[str, Field(description="The field at fault, dotted; empty if it is the whole value")]
Detail = Annotated[str, Field(max_length=200, description="What is wrong, in printable ASCII, for people")]
Number = Annotated[int, Field(ge=0)]
First = Annotated[str, Field(description="The first dead letter of those that it was replayed from, if any")]


@final
class RejectedData(TypedDict):
    """Which record was rejected, and why. It is a dead letter now."""

    __pydantic_config__ = ConfigDict(strict=True, extra="ignore")  # type: ignore[misc]
    topic: str
    partition: Number
    offset: Number
    reason: Code
    field: FieldName
    detail: Detail
    account_id: NotRequired[Id]
    replay_of: NotRequired[First]


@final
class RejectedEvent(Envelope):
    """A record was no event, and was not billed; `time` is that of its arrival in Kafka."""

    type: Literal["event.rejected.v1"]
    data: RejectedData


def rejected_event(data: Mapping[str, Any], recorded_ms: int) -> bytes:
    """The event with this `RejectedData`, as it is published."""
    event = {
        "specversion": "1.0",
        "id": f"{data['topic']}/{data['partition']}/{data['offset']}",
        "source": SOURCE,
        "type": TYPE,
        "time": format_time_ms(recorded_ms),
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
