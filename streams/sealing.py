"""Sealing: facts go that are older than any event that may still come (architecture.md section 3).

An event that old is no fact any more if its conversation is sealed, which is known once that is looked up.
Pure.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.times import DAY_MS
from schemas.topics import join_key
from sessionizer.bill import bill
from sessionizer.facts import FactSet
from sessionizer.ids import usage_session_ids
from sessionizer.packed import ReadFacts, indexes_of
from sessionizer.rules import RuleBook
from sessionizer.sealing import seal_at, split_at
from sinks.ledger import NamedConversation, Seal, SealRow, StoredConversation
from streams.batches import Record

STEP_MS: Final = 30 * DAY_MS
"""A conversation that goes on is sealed a piece of this length at a time."""
_NEVER: Final = (1 << 63) - 1


class OldFacts(NamedTuple):
    """Facts of a batch that may be older than a seal of their conversation, and the record of each."""

    facts: ReadFacts
    records: list[Record]

    @property
    def keys(self) -> list[bytes]:
        """The Kafka key of the conversation of each."""
        return [self.facts.origins.keys[index] for index in indexes_of(self.facts.rows).tolist()]


def seal_row(
    named: NamedConversation, stored: StoredConversation, rules: RuleBook, before_ms: int
) -> SealRow:
    """What is to be done about a settled conversation, of which facts before a time may be sealed."""
    key = named.key
    facts, seal = FactSet.load(stored.facts, stored.strings), stored.seal
    if not stored.facts:
        return SealRow(key, _NEVER)
    later = SealRow(key, before_ms + STEP_MS)
    begun_ms = seal.begun_ms if seal else facts.earliest_ms
    rule_set = rules.in_force(named.account_id, named.bot_id, begun_ms)
    through_ms = seal_at(facts, rule_set, before_ms - 1)
    if through_ms is None:
        return later
    kafka_key = join_key(*named[2:])
    blocks = bill(facts, rule_set).blocks
    ids = usage_session_ids((kafka_key, block.session_started_ms, block.block) for block in blocks)
    if stored.record_ids != b"".join(ids):
        return later  # billed by another algorithm: what it must be now is for `recompute` to say
    kept_ids = [
        session_id
        for session_id, block in zip(ids, blocks, strict=True)
        if block.session_started_ms > through_ms
    ]
    sealed, kept, strings = split_at(facts, through_ms)
    return SealRow(
        key,
        before_ms + STEP_MS if kept else _NEVER,
        Seal(through_ms, sealed + (seal.facts if seal else 0), begun_ms),
        stored.revision,
        b"".join(kept_ids),
        kept,
        strings,
    )
