"""Sets of facts in their stored form, and what is done with many of them at once, by columns.

A `PackedFacts` holds what a `FactSet` holds in a tenth of the memory: its facts one after another in the
order in which they came, which is how chunks of them are stored. Merging is set union here too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.decode import LAST_TIME_MS
from sessionizer.facts import FACT_BYTES, HANDOFF_STARTED, INDEX_MASK, FactSet

FACT: Final = np.dtype(
    [
        ("time_high", ">i2"),
        ("time_low", ">u4"),
        ("kind", "u1"),
        ("identity", ">u8"),
        ("index_high", "u1"),
        ("index_low", ">u2"),
    ]
)
"""A stored fact as a row of an array: numpy has no integers of 6 and 3 bytes, so two parts are halved."""

LARGE_FACTS: Final = 256
"""A set of more remembers its facts by identity: looking through it each time would cost n squared."""

_IDENTITY: Final = slice(7, 15)
# Odd, so that different places stay different.
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)

Ints = NDArray[np.int64]
Rows = NDArray[Any]
"""Facts, as rows of type FACT."""


class Merged(NamedTuple):
    """What came of adding facts to many sets."""

    facts: int
    conflicts: int
    changed: Sequence[int]
    """The places of the sets that grew."""


class PackedFacts:
    """The facts of one conversation, losing copies included."""

    __slots__ = ("_made_index", "_new_facts", "_new_strings", "all_win", "facts", "strings")

    def __init__(self, facts: bytes = b"", strings: str = "") -> None:
        """All of these are saved; `strings` is the table as `FactSet` has it, a string a line."""
        if len(facts) % FACT_BYTES:
            raise ValueError(f"stored facts of {len(facts)} bytes are not a multiple of {FACT_BYTES}")
        self.facts: bytes | bytearray = facts
        self.strings = strings
        self.all_win = _all_win(facts)
        """Whether no two facts share an identity."""
        # The lengths of what is not saved: 0 takes no memory of its own.
        self._new_facts = self._new_strings = 0
        self._made_index: _Index | None = None

    @property
    def revision(self) -> int:
        """The number of facts in the set: it only grows."""
        return len(self.facts) // FACT_BYTES

    @property
    def saved_bytes(self) -> int:
        """How long what is saved of it is."""
        return len(self.facts) - self._new_facts + len(self.strings) - self._new_strings

    @property
    def is_large(self) -> bool:
        """Whether looking through all of it must be avoided."""
        return len(self.facts) > LARGE_FACTS * FACT_BYTES

    def rows(self, place: int = 0) -> Rows:
        """Those from a place on, in the order in which they came."""
        return np.frombuffer(bytes(self.facts[place * FACT_BYTES :]), FACT)

    @property
    def unsaved(self) -> Rows:
        """Those that were added since the last take."""
        return self.rows(self.revision - self._new_facts // FACT_BYTES)

    def since(self, place: int, time_ms: int) -> "PackedFacts":
        """The set of those from a place on that are not older than a time."""
        rows = self.rows(place)
        return PackedFacts(rows[times_of(rows) >= time_ms].tobytes(), self.strings)

    def unpacked(self) -> FactSet:
        """The same set, to ask for its winners."""
        return FactSet.load(bytes(self.facts), self.strings)

    def index_of(self, line: str) -> int:
        """Return the index of a string, which is added if it is new."""
        line_end = f"{line}\n"
        if self.strings.startswith(line_end):
            return 0
        large = self._index()
        places = large.places if large else _places(self.strings)
        index = places.get(line)
        if index is None:
            index = places[line] = len(places)
            if index > INDEX_MASK:
                raise OverflowError(f"a conversation holds at most {INDEX_MASK + 1} different strings")
            self.strings += line_end
            self._new_strings += len(line_end)
        return index

    def extend(self, facts: bytes) -> None:
        """Add facts none of whose identities is known."""
        self.facts += facts
        self._new_facts += len(facts)

    def add(self, facts: bytes) -> tuple[int, int]:
        """Add facts of which any may be known, as `FactSet.add`: how many were new, and in conflict."""
        large = self._index()
        known = large.known if large else _by_identity(self.facts)
        added = conflicts = 0
        for fact in split(facts, FACT_BYTES):
            first = known.setdefault(fact[_IDENTITY], fact)
            if first is fact:
                added += 1
            elif first == fact or self._holds(fact):
                continue
            else:
                conflicts += 1
                self.all_win = False
            self.facts += fact
            self._new_facts += FACT_BYTES
        return added, conflicts

    def take_chunk(self) -> tuple[bytes, str]:
        """Return the facts and the strings added since the last take, and count them as saved from now on."""
        saved_facts, saved_strings = len(self.facts) - self._new_facts, len(self.strings) - self._new_strings
        self._new_facts = self._new_strings = 0
        return bytes(self.facts[saved_facts:]), self.strings[saved_strings:]

    def _index(self) -> "_Index | None":
        """What a large set finds its facts and strings by; None for others, which look through all."""
        if self._made_index is None and self.is_large:
            self._made_index = _Index(_by_identity(self.facts), _places(self.strings))
            self.facts = bytearray(self.facts)
        return self._made_index

    def _holds(self, fact: bytes) -> bool:
        at = self.facts.find(fact)
        while at >= 0 and at % FACT_BYTES:
            at = self.facts.find(fact, at + 1)
        return at >= 0


class _Index(NamedTuple):
    known: dict[bytes, bytes]
    places: dict[str, int]


def _by_identity(facts: bytes | bytearray) -> dict[bytes, bytes]:
    """Of each identity, the fact that came first."""
    known: dict[bytes, bytes] = {}
    for fact in split(bytes(facts), FACT_BYTES):
        known.setdefault(fact[_IDENTITY], fact)
    return known


def _places(strings: str) -> dict[str, int]:
    return {line: place for place, line in enumerate(strings.split("\n")[:-1])}


@dataclass(slots=True, eq=False)
class Origins:
    """Where facts come from, by number: the Kafka key of a conversation, and a string as `FactSet` has it."""

    keys: list[bytes] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class ReadFacts(NamedTuple):
    """Facts in the order in which they were read; the index of each is the number of its origin."""

    rows: Rows
    origins: Origins


@dataclass(slots=True)
class NewFacts:
    """Facts to add, conversation by conversation; within one in the order in which they were read."""

    keys: list[bytes] = field(default_factory=list)
    """The Kafka keys of the conversations."""
    bounds: list[int] = field(default_factory=lambda: [0])
    """Where the facts of each begin, and where the last one's end."""
    rows: Rows = field(default_factory=lambda: np.empty(0, FACT))
    """The facts; the index of each leads into `lines`."""
    lines: list[str] = field(default_factory=list)
    line_places: list[int] = field(default_factory=list)
    """Of each of the lines, the place of its conversation in `keys`."""


def by_conversation(read: Iterable[ReadFacts]) -> NewFacts:
    """Gather facts that were read. Those of the same origins should follow each other."""
    numbers: dict[bytes, int] = {}
    lines: list[str] = []
    line_places: list[int] = []
    all_rows, all_places = [np.empty(0, FACT)], [np.empty(0, np.int64)]
    for origins, parts in groupby(read, attrgetter("origins")):
        rows = np.concatenate([part.rows for part in parts], dtype=FACT)
        of = indexes_of(rows)
        used = np.flatnonzero(np.bincount(of, minlength=len(origins.keys)))
        places = [numbers.setdefault(origins.keys[origin], len(numbers)) for origin in used.tolist()]
        line_of = np.zeros(len(origins.keys), np.int64)
        line_of[used] = np.arange(len(lines), len(lines) + len(used))
        place_of = np.zeros(len(origins.keys), np.int64)
        place_of[used] = places
        lines += [origins.lines[origin] for origin in used.tolist()]
        line_places += places
        _set_indexes(rows, line_of[of])
        all_rows.append(rows)
        all_places.append(place_of[of])
    place = np.concatenate(all_places)
    counts = np.bincount(place, minlength=len(numbers))
    # Numbers of 16 bits are sorted in one go.
    order = (place.astype(np.uint16) if len(numbers) <= 1 << 16 else place).argsort(kind="stable")
    return NewFacts(
        list(numbers),
        [0, *counts.cumsum().tolist()],
        np.concatenate(all_rows, dtype=FACT)[order],
        lines,
        line_places,
    )


def merge(held: Sequence[PackedFacts], new: NewFacts) -> Merged:
    """Add its new facts to what is held of each conversation, given in the order of `new.keys`.

    `new` is of no use then: its rows lead into the tables of strings of the sets.
    """
    if not held:
        return Merged(0, 0, ())
    rows = new.rows
    indexes = np.array(
        [held[place].index_of(line) for place, line in zip(new.line_places, new.lines, strict=True)]
    )
    _set_indexes(rows, indexes[indexes_of(rows)])
    doubtful = _doubtful(held, rows, np.diff(new.bounds))
    stored = rows.tobytes()
    ends = [bound * FACT_BYTES for bound in new.bounds]
    added = conflicts = 0
    changed = []
    for place, (facts, begin, end) in enumerate(zip(held, ends, ends[1:], strict=False)):
        if facts.is_large or place in doubtful:
            its_added, its_conflicts = facts.add(stored[begin:end])
            if not its_added and not its_conflicts:
                continue
            added += its_added
            conflicts += its_conflicts
        else:
            facts.extend(stored[begin:end])
            added += (end - begin) // FACT_BYTES
        changed.append(place)
    return Merged(added, conflicts, changed)


def _doubtful(held: Sequence[PackedFacts], rows: Rows, counts: Ints) -> set[int]:
    """The places of conversations in which an identity of these rows may be known, or come twice.

    Large ones are not looked through, so nothing is said of them.
    """
    places = np.arange(len(held))
    most = LARGE_FACTS * FACT_BYTES
    small = [facts.facts if len(facts.facts) <= most else b"" for facts in held]
    known = np.frombuffer(b"".join(small), FACT)
    known_counts = np.fromiter(map(len, small), np.int64, len(small)) // FACT_BYTES
    read = _marks(rows, places.repeat(counts))
    marks = np.sort(np.concatenate((read, _marks(known, places.repeat(known_counts)))))
    twice = marks[1:][marks[1:] == marks[:-1]]
    if not len(twice):
        return set()
    nearest = twice[np.searchsorted(twice[:-1], read)]
    return set(places.repeat(counts)[read == nearest].tolist())


def _marks(rows: Rows, places: Ints) -> NDArray[np.uint64]:
    """Numbers that are equal wherever identity and conversation are, and hardly ever otherwise."""
    marks: NDArray[np.uint64] = rows["identity"].astype(np.uint64) ^ (places.astype(np.uint64) * _SPREAD)
    return marks


def flaws_of(stored: Sequence[tuple[bytes, str]]) -> list[str | None]:
    """Say of each of these why they cannot be the facts and strings of a conversation; None if they can."""
    if stored and not _flaw_of(stored):
        return [None] * len(stored)
    return [_flaw_of([its]) for its in stored]


def _flaw_of(stored: Sequence[tuple[bytes, str]]) -> str | None:
    """Say what is wrong with one of them, or may be if they are many: two may hold the same fact."""
    counts, tables = [], []
    for facts, strings in stored:
        if not facts or len(facts) % FACT_BYTES:
            return f"facts of {len(facts)} bytes are not whole ones of {FACT_BYTES}"
        lines = strings.split("\n")
        if lines.pop() or any(line.count("|") != 2 for line in lines) or len(set(lines)) < len(lines):
            return "a table of strings that no facts have"
        counts.append(len(facts) // FACT_BYTES)
        tables.append(len(lines))
    joined = b"".join([facts for facts, _ in stored])
    rows = np.frombuffer(joined, FACT)
    if (indexes_of(rows) >= np.repeat(tables, counts)).any():
        return "a fact leads to a string that is not there"
    if (rows["kind"] > HANDOFF_STARTED).any():
        return "a fact of no known kind"
    times_ms = times_of(rows)
    if ((times_ms < 0) | (times_ms > LAST_TIME_MS)).any():
        return "a fact of no possible time"
    if len(set(split(joined, FACT_BYTES))) < len(rows):
        return "the same fact twice"
    return None


def pack(times_ms: Ints, kinds: NDArray[Any], identities: NDArray[np.uint64], indexes: Ints) -> Rows:
    """Return facts given by columns as rows."""
    rows = np.empty(len(times_ms), FACT)
    rows["time_high"] = times_ms >> 32
    rows["time_low"] = times_ms & 0xFFFFFFFF
    rows["kind"] = kinds
    rows["identity"] = identities
    _set_indexes(rows, indexes)
    return rows


def times_of(rows: Rows) -> Ints:
    """Return the times of rows, in ms."""
    times_ms: Ints = rows["time_high"].astype(np.int64) << 32 | rows["time_low"]
    return times_ms


def indexes_of(rows: Rows) -> Ints:
    """Return to which strings rows lead."""
    indexes: Ints = rows["index_high"].astype(np.int64) << 16 | rows["index_low"]
    return indexes


def _set_indexes(rows: Rows, indexes: Ints) -> None:
    rows["index_high"] = indexes >> 16
    rows["index_low"] = indexes & 0xFFFF


def _all_win(facts: bytes) -> bool:
    if not facts:
        return True
    identities = np.frombuffer(facts, FACT)["identity"]
    return len(np.unique(identities)) == len(identities)


def split(joined: bytes, length: int) -> list[bytes]:
    """Return the pieces of so many bytes that were joined."""
    return [joined[at : at + length] for at in range(0, len(joined), length)]
