"""Which records would be others if they were billed by this version of the rule's code. Changes nothing.

Every conversation is billed from its stored facts, as of one moment, and held against its records. What is
sealed has no facts any more and stays as it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from quarterhour.reconciling import CONTENT, MOST_FACTS_AT_ONCE, bills_of, content_of, joined, time_of
from sessionizer.bill import ALGORITHM
from sessionizer.blocks import Block
from sessionizer.facts import FACT_BYTES
from sessionizer.packed import PackedFacts, flaws_of, split
from sessionizer.rules import InvalidRules, RuleBook, RuleSet
from sinks.ledger import Refused
from sinks.reconciling import Filter, HeldConversation, Snapshot

_ID_BYTES = 16


class Change(StrEnum):
    """What billing anew would make of a record."""

    CHANGED = "changed"
    VOID = "void"
    """Its facts do not yield it any more."""
    NEW = "new"
    BACK = "back"
    """It is void, and its facts yield it."""


class Difference(NamedTuple):
    """A record that would be another one; `fields` are what each of them is and would be."""

    session_id: bytes
    names: tuple[str, str, str]
    change: Change
    algorithm: int | None
    """That the record is by, if it is there."""
    fields: Mapping[str, tuple[Any, Any]]


@dataclass
class Plan:
    """Billing anew what a filter lets pass: how much was looked at, and what was found."""

    snapshot: Snapshot
    only: Filter
    conversations: int = 0
    sealed: int = 0
    records: int = 0
    older: Counter[int] = field(default_factory=Counter)
    """Records that stay as they are, by the older algorithm that they are by."""
    by_account: dict[str, Counter[Change]] = field(default_factory=lambda: defaultdict(Counter))
    differing: list[bytes] = field(default_factory=list)
    """The keys of conversations with a record that would be another one."""

    @property
    def changes(self) -> Counter[Change]:
        """Of all accounts together."""
        return sum(self.by_account.values(), Counter())

    async def differences(self) -> AsyncIterator[Difference]:
        """All records that would be others, as they are found. Raises `Refused`."""
        _, newest = await self.snapshot.algorithms()
        if newest > ALGORITHM:
            raise Refused(
                f"there are records by algorithm {newest}, and this program has {ALGORITHM}:"
                " an older one bills nothing anew"
            )
        try:
            book = RuleBook([RuleSet(**row) for row in await self.snapshot.rule_sets()])
        except InvalidRules as error:
            raise Refused(f"no bill can be computed: {error}") from error
        async for batch in self.snapshot.conversations(self.only, MOST_FACTS_AT_ONCE):
            for difference in await self._of(batch, book):
                yield difference

    async def _of(self, batch: Sequence[HeldConversation], book: RuleBook) -> list[Difference]:
        """Those of these conversations."""
        self.conversations += len(batch)
        self.sealed += sum(held.seal is not None for held in batch)
        sound = list(_sound(batch))
        bills = bills_of(sound, book)
        known = [split(held.record_ids, _ID_BYTES) for held, _ in sound]
        found = await self.snapshot.records(
            {it for (_, due), its in zip(bills, known, strict=True) for it in (*due, *its)}
        )
        differences = []
        for (held, _), (bill, due), its in zip(sound, bills, known, strict=True):
            differing = [
                *self._yielded(held.names, dict(zip(due, bill.blocks, strict=True)), found),
                *self._gone(held.names, sorted(set(its).difference(due)), found),
            ]
            if differing:
                self.differing.append(held.key)
                self.by_account[held.names[0]].update(it.change for it in differing)
                differences += differing
        return differences

    def _yielded(
        self, names: tuple[str, str, str], blocks: Mapping[bytes, Block], found: Mapping[bytes, Any]
    ) -> Iterator[Difference]:
        """What would become of the records that the facts of a conversation yield."""
        for session_id, block in blocks.items():
            row = found.get(session_id)
            starts = [time_of(block.started_ms), *([row["started_at"]] if row else ())]
            if not any(map(self.only.includes, starts)):
                continue
            self.records += 1
            fields = _differing(row, dict(zip(CONTENT, content_of(names, block), strict=False)))
            if row is None:
                yield Difference(session_id, names, Change.NEW, None, fields)
            elif row["status"] == "void":
                yield Difference(session_id, names, Change.BACK, row["algorithm"], fields)
            elif fields:
                yield Difference(session_id, names, Change.CHANGED, row["algorithm"], fields)
            elif row["algorithm"] < ALGORITHM:
                self.older[row["algorithm"]] += 1

    def _gone(
        self, names: tuple[str, str, str], ids: Sequence[bytes], found: Mapping[bytes, Any]
    ) -> Iterator[Difference]:
        """Records of a conversation that its facts do not yield."""
        for row in filter(None, map(found.get, ids)):
            if row["status"] != "void" and self.only.includes(row["started_at"]):
                self.records += 1
                yield Difference(row["session_id"].bytes, names, Change.VOID, row["algorithm"], {})


def _sound(batch: Sequence[HeldConversation]) -> Iterator[tuple[HeldConversation, PackedFacts]]:
    """Those that have facts; raises `Refused` if any facts are not those that the ledger was given."""
    sets = [joined(held.chunks) for held in batch]
    flaws = iter(flaws_of([stored for stored in sets if stored[0]]))
    for held, (facts, strings) in zip(batch, sets, strict=True):
        count = held.sealed_facts + len(facts) // FACT_BYTES
        is_unchanged = all(chunk.is_unchanged for chunk in held.chunks)
        if (facts and next(flaws)) or count != held.revision or not is_unchanged:
            name = "|".join(held.names)
            raise Refused(f"the facts of {name} were corrupted: `quarterhour reconcile --deep` tells more")
        if facts:
            yield held, PackedFacts(facts, strings)


def _differing(row: Any, becomes: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    is_now = {name: row and row[name] for name in becomes}
    return {name: (is_now[name], value) for name, value in becomes.items() if is_now[name] != value}
