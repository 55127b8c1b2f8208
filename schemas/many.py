"""Many values at once: events of ordinary form at a quarter of what `schemas.decode` takes for each.

A value is of ordinary form if it holds nothing that msgspec and the contract judge differently. Whatever is
not, or is not an event to msgspec, is left to `decode`, whose word it is; so this may refuse anything, and
must never give an event that `decode` would not. Pure: no I/O, no clock.
"""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Any, Final, NotRequired, Protocol, cast, get_args, get_origin, get_type_hints

import msgspec
from pydantic.fields import FieldInfo

from schemas.events import MODELS, Event, type_of
from schemas.topics import TOPIC_OF_TYPE, Topic

LONGEST_BYTES: Final = 4_096
"""Of a value of ordinary form: no number in it can have too many digits."""
_SHORT_BYTES: Final = 512  # an event in which brackets stand 200 deep is longer
_MOST_BRACKETS: Final = 200
_OPTIONAL: Final = ("author", "handoff_id")
_FEW_VALUES: Final = 16  # looked at one by one when one of them is odd
_C1_CONTROL: Final = re.compile(b"\xc2[\x80-\x9f]")


class OrdinaryEvent(Protocol):
    """An event with the fields of `schemas.events` as attributes, its time not read yet.

    Data knows the `type` of its event too; `author` and `handoff_id` are None where a type has none. It is
    hashable: equal for events that differ in nothing but identity and time.
    """

    @property
    def id(self) -> str:
        """The id."""
        ...

    @property
    def source(self) -> str:
        """Who gave the id."""
        ...

    @property
    def time(self) -> str:
        """As it was sent."""
        ...

    @property
    def data(self) -> Any:
        """All else."""
        ...


def decode_many(values: Sequence[bytes | None], topic: Topic) -> tuple[list[OrdinaryEvent | None], list[int]]:
    """Return the event of each value, None at the places that `decode` has to judge, and those places."""
    ordinary = _without_odd_ones(values)
    events: list[OrdinaryEvent | None] = []
    left: list[int] = []
    decoded = cast("Iterator[OrdinaryEvent]", map(_DECODE[topic], cast("Sequence[bytes]", ordinary)))
    while True:
        try:
            events.extend(decoded)
        except Exception:  # what it is, `decode` says
            left.append(len(events))
            events.append(None)
        else:
            return events, left


def ordinary_form(event: Event) -> OrdinaryEvent:
    """Return an event of `decode` as `decode_many` would."""
    return cast("OrdinaryEvent", msgspec.convert(event, _STRUCT_OF_TYPE[event["type"]]))


def _without_odd_ones(values: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """The values, with None in the place of those that are not of ordinary form."""
    if _are_ordinary(values):
        return values
    if len(values) <= _FEW_VALUES:
        return [value if _are_ordinary([value]) else None for value in values]
    middle = len(values) // 2
    return [*_without_odd_ones(values[:middle]), *_without_odd_ones(values[middle:])]


def _are_ordinary(values: Sequence[bytes | None]) -> bool:
    if None in values:
        return False
    present = cast("Sequence[bytes]", values)
    joined = b"\n".join(present)
    if b"\\" in joined or b"|" in joined or b"\x7f" in joined:
        return False
    if not joined.isascii():
        wide = b"\n".join([value for value in present if not value.isascii()])
        # One byte is found fastest.
        if not _is_unicode(wide) or (b"\xc2" in wide and _C1_CONTROL.search(wide)):
            return False
    longest = max(map(len, present), default=0)
    return longest <= _SHORT_BYTES or (longest <= LONGEST_BYTES and not any(map(_is_deep, present)))


def _is_unicode(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_deep(value: bytes) -> bool:
    return value.count(b"[") + value.count(b"{") > _MOST_BRACKETS


def _struct_of(model: type) -> type[msgspec.Struct]:
    hints = get_type_hints(model, include_extras=True)
    kind = type_of(model)
    inner = get_type_hints(hints["data"], include_extras=True)
    data = msgspec.defstruct(
        f"{model.__name__}Data",
        [_field(*field) for field in inner.items()],
        namespace={"type": kind, **{name: None for name in _OPTIONAL if name not in inner}},
        frozen=True,
        kw_only=True,
        gc=False,
    )
    envelope = [(name, hint) for name, hint in hints.items() if name not in ("type", "data")]
    return msgspec.defstruct(
        model.__name__, [*envelope, ("data", data)], tag_field="type", tag=kind, gc=False
    )


def _field(name: str, hint: Any) -> Any:
    if get_origin(hint) is NotRequired:
        return name, get_args(hint)[0] | msgspec.UnsetType, msgspec.UNSET
    for annotation in getattr(hint, "__metadata__", ()):
        if isinstance(annotation, FieldInfo) and not annotation.is_required():
            return name, hint, annotation.default
    return name, hint


_STRUCT_OF_TYPE: Final = {type_of(model): _struct_of(model) for model in MODELS}
_DECODE: Final = {
    topic: msgspec.json.Decoder(
        reduce(or_, [struct for kind, struct in _STRUCT_OF_TYPE.items() if TOPIC_OF_TYPE[kind] is topic])
    ).decode
    for topic in Topic
}
