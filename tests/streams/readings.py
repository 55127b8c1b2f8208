"""What a reading says, in a form that can be compared and added to a set of facts: slow and obvious."""

from collections.abc import Mapping, Sequence
from typing import Any

from sessionizer.facts import FACT_BYTES, NewFact
from sessionizer.packed import ReadFacts, by_conversation
from streams.reading import Reading


def facts_of(read: ReadFacts) -> dict[bytes, list[NewFact]]:
    """The arguments of `FactSet.add` for each fact, by Kafka key, in the order in which they were read."""
    new = by_conversation([read])
    stored = new.rows.tobytes()
    lines = list(zip(new.line_places, new.lines, strict=True))
    found: dict[bytes, list[NewFact]] = {}
    for place, key in enumerate(new.keys):
        some = range(new.bounds[place] * FACT_BYTES, new.bounds[place + 1] * FACT_BYTES, FACT_BYTES)
        found[key] = [_fact(stored[at : at + FACT_BYTES], place, lines) for at in some]
    assert len(found) == len(new.keys), "a key comes twice"
    assert new.bounds[0] == 0 and new.bounds[-1] * FACT_BYTES == len(stored)
    return found


def taken_of(reading: Reading) -> Mapping[bytes, Sequence[tuple[Any, ...]]]:
    """The facts or reports by Kafka key."""
    taken = {**facts_of(reading.facts), **reading.reports}
    assert all(taken.values())
    return taken


def said(reading: Reading) -> tuple[Any, ...]:
    """All that a reading says."""
    return taken_of(reading), reading.outcomes, reading.dead_letters, reading.newest_ms


def _fact(stored: bytes, place: int, lines: Sequence[tuple[int, str]]) -> NewFact:
    time_ms = int.from_bytes(stored[:6], "big", signed=True)
    of, line = lines[int.from_bytes(stored[15:], "big")]
    assert of == place, "a line of another conversation"
    handoff_id, user_id, channel = line.split("|")
    return time_ms, stored[6], int.from_bytes(stored[7:15], "big"), handoff_id, user_id, channel
