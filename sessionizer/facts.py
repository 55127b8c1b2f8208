"""The set of facts of one conversation: what is known of it, as packed integers; merging is set union.

A fact is an event's identity with its content, as one int, highest part first:

    time_ms (signed) | kind, 8 bits | identity, 64 bits | index into the table of strings, 24 bits

A string of the table is the line `handoff_id|user_id|channel`. Ids hold neither `|` nor control characters,
so a line is unambiguous and a table is text, a string a line. Stored, a fact is the same int in 18 bytes, big
endian, which leaves 6 bytes to the time: up to the year 6429.

Facts are only ever added. This module knows nothing of spans, sessions or blocks.
"""

from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Final

from schemas.outcomes import Outcome

# In code point order of (type, author), so that comparing kinds is comparing these.
CLOSED: Final = 0
BOT_MESSAGE: Final = 1
USER_MESSAGE: Final = 2
HANDOFF_ENDED: Final = 3
HANDOFF_STARTED: Final = 4

FACT_BYTES: Final = 18
IDENTITY_SHIFT: Final = 24
KIND_SHIFT: Final = 88
TIME_SHIFT: Final = 96
INDEX_MASK: Final = (1 << 24) - 1
IDENTITY_MASK: Final = (1 << 64) - 1
KIND_MASK: Final = (1 << 8) - 1

# Looking a member up on its enum costs more than the rest of a repeat.
_FACT, _REPEAT, _CONFLICT = Outcome.FACT, Outcome.REPEAT, Outcome.CONFLICT


def identity_of(source: str, event_id: str) -> int:
    """Return the 64 bits that stand for an event's (`source`, `id`): the same on every machine, for ever."""
    return int.from_bytes(digests_of([f"{source}|{event_id}"])[0], "big")


def digests_of(names: Iterable[str]) -> list[bytes]:
    """Return the same as it is stored, 8 bytes big endian, for each `source|id`."""
    return [blake2b(name.encode(), digest_size=8).digest() for name in names]


# The arguments of `FactSet.add`: time_ms, kind, identity, handoff_id, user_id, channel.
NewFact = tuple[int, int, int, str, str, str]


class FactSet:
    """The facts of one conversation, losing copies included, of which the winners make the bill."""

    __slots__ = ("_by_index", "_lines", "_losers", "_saved_lines", "_unsaved", "_winners")

    def __init__(self) -> None:
        self._winners: dict[int, int] = {}
        self._losers: set[int] | None = None
        self._lines: dict[str, int] = {}
        # The same by index, from the first conflict on that needs it.
        self._by_index: list[str] | None = None
        self._unsaved: list[int] = []
        self._saved_lines = 0

    @classmethod
    def load(cls, facts: bytes, strings: str) -> "FactSet":
        """Return the set whose chunks, joined in the order they were taken, these are; all of it is saved."""
        if len(facts) % FACT_BYTES:
            raise ValueError(f"stored facts of {len(facts)} bytes are not a multiple of {FACT_BYTES}")
        loaded = cls()
        loaded._lines = {line: index for index, line in enumerate(strings.split("\n")[:-1])}
        loaded._saved_lines = len(loaded._lines)
        stored = [
            int.from_bytes(facts[at : at + FACT_BYTES], "big", signed=True)
            for at in range(0, len(facts), FACT_BYTES)
        ]
        loaded._winners = {fact >> IDENTITY_SHIFT & IDENTITY_MASK: fact for fact in stored}
        if len(loaded._winners) < len(stored):  # copies in conflict: one by one
            loaded._winners = {}
            for fact in stored:
                loaded._insert(fact)
            loaded._unsaved.clear()
        return loaded

    def add(
        self, time_ms: int, kind: int, identity: int, handoff_id: str, user_id: str, channel: str
    ) -> Outcome:
        """Add one fact: FACT if its identity is new, CONFLICT if only its content is, else REPEAT."""
        line = f"{handoff_id}|{user_id}|{channel}"
        index = self._lines.get(line)
        if index is None:
            index = self._new_line(line)
        return self._insert((time_ms << 8 | kind) << 88 | identity << 24 | index)

    def merge(self, other: "FactSet") -> None:
        """Make this set the union of both; what it did not hold is unsaved here, even if saved there."""
        indexes = [self._index_of(line) for line in other._lines]
        for fact in list(other._facts()):
            self._insert(fact & ~INDEX_MASK | indexes[fact & INDEX_MASK])

    @property
    def revision(self) -> int:
        """The number of facts in the set: it only grows."""
        return len(self._winners) + len(self._losers or ())

    @property
    def earliest_ms(self) -> int:
        """The time of the earliest fact, which decides the rule set; there is at least one."""
        return min(self._winners.values()) >> TIME_SHIFT

    def winners(self) -> Collection[int]:
        """Return the winning fact of every identity, packed, in no order."""
        return self._winners.values()

    def lines(self) -> list[str]:
        """Return the table of strings: a fact's index leads to its `handoff_id|user_id|channel`."""
        return list(self._lines)

    def take_chunk(self) -> tuple[bytes, str]:
        """Return the facts and the lines added since the last take, and count them as saved from now on."""
        facts = b"".join([fact.to_bytes(FACT_BYTES, "big", signed=True) for fact in self._unsaved])
        strings = "".join([f"{line}\n" for line in islice(self._lines, self._saved_lines, None)])
        self._unsaved.clear()
        self._saved_lines = len(self._lines)
        return facts, strings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FactSet) and self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]  # a set that grows is no key

    def _insert(self, fact: int) -> Outcome:
        identity = fact >> IDENTITY_SHIFT & IDENTITY_MASK
        known = self._winners.get(identity)
        if known is None:
            self._winners[identity] = fact
            self._unsaved.append(fact)
            return _FACT
        return _REPEAT if known == fact else self._insert_copy(identity, known, fact)

    def _insert_copy(self, identity: int, winner: int, fact: int) -> Outcome:
        if self._losers is None:
            self._losers = set()
        if fact in self._losers:
            return _REPEAT
        if self._rank(fact) < self._rank(winner):
            self._winners[identity] = fact
            self._losers.add(winner)
        else:
            self._losers.add(fact)
        self._unsaved.append(fact)
        return _CONFLICT

    def _rank(self, fact: int) -> tuple[int, list[str]]:
        # Part by part: comparing whole lines would let `|` take part in the order.
        if self._by_index is None:
            self._by_index = self.lines()
        return fact >> KIND_SHIFT, self._by_index[fact & INDEX_MASK].split("|")

    def _index_of(self, line: str) -> int:
        index = self._lines.get(line)
        return self._new_line(line) if index is None else index

    def _new_line(self, line: str) -> int:
        index = len(self._lines)
        if index > INDEX_MASK:
            raise OverflowError(f"a conversation holds at most {INDEX_MASK + 1} different strings")
        self._lines[line] = index
        if self._by_index is not None:
            self._by_index.append(line)
        return index

    def _facts(self) -> Iterator[int]:
        yield from self._winners.values()
        yield from self._losers or ()

    def _content(self) -> set[tuple[int, str]]:
        lines = self.lines()
        return {(fact >> IDENTITY_SHIFT, lines[fact & INDEX_MASK]) for fact in self._facts()}
