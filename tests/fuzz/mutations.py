"""Changes that make an input worse: in its JSON, in its bytes, and in the record around them.

One or two changes an input, so that what stands behind the first check is reached as well. All chance comes
from the dice given, so a seed makes the same inputs again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from schemas.decode import MAX_VALUE_BYTES
from tests.fuzz.inputs import MOST_VALUE_BYTES, TOPICS, Clock, Expansion, Input, Key
from tests.fuzz.nasty import CHARACTERS, EDGES_MS, KEYS, MOMENTS_MS, PIECES, TIMES, TOKENS, TYPES


class Raw(str):
    """A JSON token as it is written, good or bad."""


class Members(list[list[Any]]):
    """A JSON object as the list of its members, so that a key may come twice."""


def mutate(dice: Random, given: Input, other: Input) -> Input:
    """Return a worse input; what is put in may come from the other one."""
    while True:
        given = dice.choice(_CHANGES)(dice, given, other)
        if dice.random() < 0.6:
            break
    if given.value is not None and len(given.value) > MOST_VALUE_BYTES:
        given = given._replace(value=given.value[:MOST_VALUE_BYTES])
    return given


def parse(value: bytes | None) -> Any:
    """Read JSON with every member and number as it was written; None if it is none."""
    try:
        return json.loads(
            value or b"", object_pairs_hook=_members, parse_int=Raw, parse_float=Raw, parse_constant=Raw
        )
    except (ValueError, RecursionError):
        return None


def write(node: Any, ascii_only: bool) -> str:
    """Write what `parse` read."""
    if isinstance(node, Members):
        return "{" + ",".join([f"{_text(key, ascii_only)}:{write(n, ascii_only)}" for key, n in node]) + "}"
    if isinstance(node, list):
        return "[" + ",".join([write(part, ascii_only) for part in node]) + "]"
    return _text(node, ascii_only)


def _text(node: Any, ascii_only: bool) -> str:
    return node if isinstance(node, Raw) else json.dumps(node, ensure_ascii=ascii_only)


def _members(pairs: list[tuple[str, Any]]) -> Members:
    return Members([key, found] for key, found in pairs)


def _change_document(dice: Random, given: Input, other: Input) -> Input:
    """Change a member of the event or of its data."""
    document = parse(given.value)
    if not isinstance(document, Members):
        return _change_bytes(dice, given, other)
    for _ in range(1 + (dice.random() < 0.3)):
        dice.choice(_CHANGES_OF_MEMBERS)(dice, _an_object(dice, document), other)
    try:
        text = write(document, dice.random() < 0.5)
    except RecursionError:
        return _change_bytes(dice, given, other)
    return given._replace(value=text.encode(errors="surrogatepass"))


def _an_object(dice: Random, document: Members) -> Members:
    inner = [found for _, found in document if isinstance(found, Members)]
    return dice.choice(inner) if inner and dice.random() < 0.6 else document


def _replace(dice: Random, members: Members, other: Input) -> None:
    if members:
        member = dice.choice(members)
        member[1] = _nasty(dice, *member)


def _drop(dice: Random, members: Members, other: Input) -> None:
    if members:
        del members[dice.randrange(len(members))]


def _add(dice: Random, members: Members, other: Input) -> None:
    key = dice.choice(KEYS)
    members.insert(dice.randint(0, len(members)), [key, _nasty(dice, key, "x")])


def _double(dice: Random, members: Members, other: Input) -> None:
    if members:
        key, found = dice.choice(members)
        members.insert(dice.randint(0, len(members)), [key, dice.choice([found, _nasty(dice, key, found)])])


def _rename(dice: Random, members: Members, other: Input) -> None:
    if members:
        dice.choice(members)[0] = dice.choice(KEYS)


def _reorder(dice: Random, members: Members, other: Input) -> None:
    dice.shuffle(members)


def _retype(dice: Random, members: Members, other: Input) -> None:
    for member in members:
        if member[0] == "type":
            member[1] = dice.choice(TYPES)


def _borrow(dice: Random, members: Members, other: Input) -> None:
    """Take a member from the other input, of either level."""
    document = parse(other.value)
    lent = _an_object(dice, document) if isinstance(document, Members) else None
    if lent:
        key, found = dice.choice(lent)
        members[:] = [member for member in members if member[0] != key]
        members.append([key, found])


def _nasty(dice: Random, key: str, found: Any) -> Any:
    """A value that may be wrong for this member, or just within the limits."""
    chance = dice.random()
    if key == "time" and chance < 0.7:
        return dice.choice(TIMES)
    if key == "developer" and chance < 0.5:
        return dice.random() < 0.7
    if key == "author" and chance < 0.5:
        return dice.choice(["user", "bot", "agent", "User", "robot"])
    if chance < 0.35:
        return Raw(dice.choice(TOKENS))
    text = found if isinstance(found, str) else "x"
    if chance < 0.6:
        return dice.choice([text + dice.choice(CHARACTERS), dice.choice(CHARACTERS) + text])
    if chance < 0.85:
        piece = dice.choice(["x", text[:3] or "y", dice.choice(CHARACTERS)])
        return (piece * 201)[: dice.choice([199, 200, 200, 201, 61])]
    return dice.choice([Members(), [found], Members([[key, found]]), text[:1], text.upper(), found])


def _change_bytes(dice: Random, given: Input, other: Input) -> Input:
    """Change bytes of the value, whatever they mean."""
    value = bytearray(given.value or b"")
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        start = dice.randint(0, len(value))
        end = start + dice.choice([0, 0, 1, 1, 2, 8, 50])
        value[start:end] = _some_bytes(dice, bytes(value), other)
    return given._replace(value=bytes(value))


def _some_bytes(dice: Random, value: bytes, other: Input) -> bytes:
    chance = dice.random()
    if chance < 0.4:
        return dice.choice(PIECES)
    if chance < 0.55:
        return b""
    if chance < 0.75:
        return dice.randbytes(dice.choice([1, 1, 2, 4]))
    source = dice.choice([value, other.value or b""])
    start = dice.randint(0, len(source))
    return source[start : start + dice.choice([3, 20, 200])]


def _change_end(dice: Random, given: Input, other: Input) -> Input:
    """Cut the value off, or put another one before or behind it."""
    value = given.value or b""
    cut = value[: dice.randint(0, len(value))]
    longer = value + dice.choice([other.value or b"", b" ", b"\n", b"\0", b",", b"}"])
    return given._replace(value=dice.choice([cut, longer, b"\xef\xbb\xbf" + value, b"[" + value + b"]"]))


def _change_encoding(dice: Random, given: Input, other: Input) -> Input:
    text = (given.value or b"").decode(errors="replace")
    encoding = dice.choice(["utf-16", "utf-16-le", "utf-32", "utf-7", "cp037"])
    return given._replace(value=text.encode(encoding, "replace"))


def _replace_document(dice: Random, given: Input, other: Input) -> Input:
    return given._replace(value=dice.choice([None, b"", dice.choice(TOKENS).encode()]))


def _change_topic(dice: Random, given: Input, other: Input) -> Input:
    return given._replace(topic=dice.choice(TOPICS))


def _change_key(dice: Random, given: Input, other: Input) -> Input:
    keys = (b"", b"|", b"||", b"acme|sales|c-1", b"\xff\0" * 9, dice.randbytes(8), b"k" * 60_000, other.key)
    mode = dice.choice([Key.NONE, Key.GIVEN, Key.GIVEN, Key.RIGHT])
    return given._replace(key_mode=mode, key=dice.choice(keys) if mode is Key.GIVEN else b"")


def _change_timestamp(dice: Random, given: Input, other: Input) -> Input:
    if dice.random() < 0.7:
        return given._replace(clock=Clock.EVENT_TIME, timestamp_ms=dice.choice(EDGES_MS))
    return given._replace(clock=Clock.EPOCH, timestamp_ms=dice.choice(MOMENTS_MS))


def _change_partitions(dice: Random, given: Input, other: Input) -> Input:
    return given._replace(partitions=3 - given.partitions)


def _expand(dice: Random, given: Input, other: Input) -> Input:
    """Repeat a piece: seldom to a megabyte, for that takes a thousand inputs' time."""
    value = given.value or b""
    start, length = dice.randint(0, len(value)), dice.choice([1, 1, 1, 2, 5, 12, 40])
    times = dice.choice([0, 2, 3, 60, 201])
    if dice.random() < 0.03:
        times = dice.choice([2_000, 100_000, 2_000_000, *_TIMES_TO_THE_LIMIT]) - len(value) // length
    return given._replace(expansion=Expansion(start, length, max(0, times)))


# With pieces of one byte: values of just the size that is allowed, and of one byte more or less.
_TIMES_TO_THE_LIMIT = (MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1, MAX_VALUE_BYTES + 2)
_CHANGES_OF_MEMBERS: tuple[Callable[[Random, Members, Input], None], ...] = (
    *[_replace] * 5,
    *[_double] * 2,
    *(_drop, _add, _rename, _reorder, _retype, _borrow),
)
_CHANGES: tuple[Callable[[Random, Input, Input], Input], ...] = (
    *[_change_document] * 12,
    *[_change_bytes] * 4,
    *(_change_end, _change_encoding, _replace_document, _change_topic, _change_key, _change_timestamp),
    *(_change_timestamp, _change_partitions, _expand),
)
