"""The conversations of one shard in memory: facts in, session records out. Pure: no I/O and no clock.

A conversation is in memory from the checkpoint that takes a first fact of it (its stored facts are looked up
before, so a bill is never computed from fewer facts than the ledger holds) until it has settled and the
checkpoint with its last facts has committed. There it is little more than its facts as they are stored: what
is done with them is done for all conversations of a checkpoint at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import accumulate, compress
from operator import attrgetter, eq
from typing import NamedTuple

import numpy as np

from schemas.outcomes import Outcome
from sessionizer.bill import bill
from sessionizer.bills import Bills, bill_many
from sessionizer.ids import usage_session_ids
from sessionizer.packed import NewFacts, PackedFacts, ReadFacts, by_conversation, merge, split, times_of
from sessionizer.rules import RuleBook, RuleSet
from sessionizer.tails import Tail, tail_of
from sinks.ledger import (
    Checkpoint,
    ChunkRow,
    ConversationRow,
    OutcomeKey,
    RecordRow,
    Seal,
    SourcePartition,
    StoredConversation,
    VoidRow,
)
from streams.batches import Record
from streams.sealing import OldFacts

ID_BYTES = 16
HASH_BYTES = 8
_TOLD_BYTES = ID_BYTES + HASH_BYTES
CONVERSATION_BYTES = 600
"""What a conversation in memory takes beside its facts and strings, about."""
# Conversations are billed and written so many at a time: more cost no less each, and need more memory.
_TAKEN_AT_ONCE = 4_000
# Conversations that settle within so long of each other leave memory together.
_STEP_MS = 10_000


def conversation_key(kafka_key: bytes) -> bytes:
    """The 16 bytes that a conversation is stored under."""
    return blake2b(kafka_key, digest_size=ID_BYTES).digest()


class CorruptFacts(Exception):
    """The ledger's facts of a conversation are not as many as it says. The worker must stop."""


class Conversation:
    """One conversation: its facts, and what of their bill the ledger has been told."""

    __slots__ = ("_told", "facts", "is_queued", "kafka_key", "seal", "settles_ms", "tail", "taken_in")

    def __init__(self, kafka_key: bytes, facts: PackedFacts) -> None:
        self.kafka_key = kafka_key
        self.facts = facts
        self.settles_ms = 0
        # The ids of all records and then the hashes of all: one string of bytes takes less than two.
        self._told = b""
        self.taken_in = 0
        """The number of the last checkpoint that took it: until that is saved, it must stay in memory."""
        self.is_queued = False
        self.tail: Tail | None = None
        """What of it is billed next time, if not all."""
        self.seal: Seal | None = None
        """What is left of facts that are not there any more."""

    @classmethod
    def restored(cls, kafka_key: bytes, stored: StoredConversation) -> Conversation:
        """A conversation as the ledger holds it."""
        conversation = cls(kafka_key, PackedFacts(stored.facts, stored.strings))
        conversation.seal = stored.seal
        if conversation.revision != stored.revision:
            # Better no bill than one computed from fewer facts than there were.
            raise CorruptFacts(
                f"conversation {kafka_key.decode()}: "
                f"the ledger says {stored.revision} facts and holds {conversation.revision}"
            )
        conversation.settles_ms = stored.settles_ms
        conversation.tell(stored.record_ids)
        return conversation

    @property
    def record_ids(self) -> bytes:
        """Of the records that exist, in the order of the bill."""
        return self._told[: len(self._told) // _TOLD_BYTES * ID_BYTES]

    @property
    def hashes(self) -> bytes:
        """Of what the ledger was told of each; 0 where that is not known."""
        return self._told[len(self._told) // _TOLD_BYTES * ID_BYTES :]

    def tell(self, record_ids: bytes, hashes: bytes = b"") -> None:
        """Remember what the ledger was told; without hashes it is not known what of each record."""
        self._told = record_ids + (hashes or bytes(len(record_ids) // ID_BYTES * HASH_BYTES))

    @property
    def revision(self) -> int:
        """The number of its facts, those that are sealed included."""
        return self.facts.revision + (self.seal.facts if self.seal else 0)

    @property
    def blocks_before(self) -> int:
        """How many blocks its bill leaves out."""
        return self.tail.blocks if self.tail else 0

    def names(self) -> tuple[str, str, str]:
        """The ids of account, bot and conversation."""
        account_id, bot_id, conversation_id = self.kafka_key.decode().split("|")
        return account_id, bot_id, conversation_id


class Portion(NamedTuple):
    """Facts of one source partition that a checkpoint takes, all of them late or none.

    Late are those that came when sessions that settle before `late_before_ms` had settled.
    """

    source: SourcePartition
    facts: NewFacts
    late_before_ms: int = 0


class ConversationShard:
    """The conversations of one source partition number, under one claim."""

    def __init__(self, number: int, rules: RuleBook) -> None:
        self.number = number
        self.held_bytes = 0
        """What the conversations in memory take, about."""
        self._rules = rules
        self._conversations: dict[bytes, Conversation] = {}
        self._touched: dict[bytes, Conversation] = {}
        # Facts of these came when sessions that settle before this had settled: what they add corrects.
        self._late_before_ms: dict[bytes, int] = {}
        # By the time they settle, in steps: each conversation stands in one place, perhaps before its time.
        self._settling: dict[int, list[bytes]] = {}
        self._steps: list[int] = []
        # Read and not cut yet.
        self._kept: dict[SourcePartition, list[ReadFacts]] = {}
        self._late: list[Portion] = []

    @property
    def keys(self) -> Container[bytes]:
        """The Kafka keys of the conversations in memory."""
        return self._conversations.keys()

    def __len__(self) -> int:
        return len(self._conversations)

    def unknown(self, kafka_keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Those not in memory, with the key to look them up by."""
        return {key: conversation_key(key) for key in kafka_keys if key not in self._conversations}

    def admit(self, unknown: Mapping[bytes, bytes], stored: Mapping[bytes, StoredConversation]) -> None:
        """Take these into memory, each with what was stored of it at a look-up after `unknown` was asked."""
        for kafka_key, key in unknown.items():
            if key in stored:
                conversation = Conversation.restored(kafka_key, stored[key])
                self._queue(conversation)
            else:
                conversation = Conversation(kafka_key, PackedFacts())
            self._conversations[kafka_key] = conversation
            self.held_bytes += conversation.facts.saved_bytes + CONVERSATION_BYTES

    def keep(self, source: SourcePartition, read: ReadFacts, settled_before_ms: int) -> None:
        """Keep facts for the next cut, read when what settles before this had settled."""
        is_late = times_of(read.rows) < settled_before_ms
        if is_late.any():
            late = ReadFacts(read.rows[is_late], read.origins)
            self._late.append(Portion(source, by_conversation([late]), settled_before_ms))
            read = ReadFacts(read.rows[~is_late], read.origins)
        self._kept.setdefault(source, []).append(read)

    def cut(self) -> list[Portion]:
        """Return all that was kept since the last cut."""
        portions = [Portion(source, by_conversation(read)) for source, read in self._kept.items()]
        portions += self._late
        self._kept, self._late = {}, []
        return portions

    def merge(self, portion: Portion) -> Counter[OutcomeKey]:
        """Add facts to conversations in memory; return how many had which outcome."""
        source, new, late_before_ms = portion
        held = [self._conversations[key] for key in new.keys]
        merged = merge([conversation.facts for conversation in held], new)
        for place in merged.changed:
            conversation = held[place]
            self._touched[conversation.kafka_key] = conversation
            if late_before_ms:
                self._late_before_ms[conversation.kafka_key] = late_before_ms
        outcomes = {
            Outcome.FACT: merged.facts,
            Outcome.CONFLICT: merged.conflicts,
            Outcome.REPEAT: len(new.rows) - merged.facts - merged.conflicts,
        }
        return Counter(
            {OutcomeKey(source, outcome, ""): count for outcome, count in outcomes.items() if count}
        )

    def bill_anew(self, kafka_keys: Iterable[bytes], settled_before_ms: int) -> None:
        """Have the next take bill all that is known of these, which are in memory, and write all of it."""
        for kafka_key in kafka_keys:
            conversation = self._conversations[kafka_key]
            conversation.tail = None
            conversation.tell(conversation.record_ids)
            late_before_ms = self._late_before_ms.get(kafka_key, 0)
            self._late_before_ms[kafka_key] = max(late_before_ms, settled_before_ms)
            if conversation.facts.revision:
                self._touched[kafka_key] = conversation

    def judge(self, old: OldFacts) -> tuple[ReadFacts, list[Record]]:
        """Return those that count, and the records of those that a seal of theirs has left behind.

        Their conversations are in memory.
        """
        seals = [self._conversations[key].seal for key in old.keys]
        counts = times_of(old.facts.rows) > [seal.through_ms if seal else -1 for seal in seals]
        return ReadFacts(old.facts.rows[counts], old.facts.origins), list(compress(old.records, ~counts))

    def take(self, settled_before_ms: int, number: int, checkpoint: Checkpoint) -> None:
        """Put all that changed since the last take into a checkpoint, the claim's so many'th."""
        # Those with copies in conflict are billed one by one, after all others.
        touched = sorted(self._touched.values(), key=lambda conversation: not conversation.facts.all_win)
        self._touched = {}
        for at in range(0, len(touched), _TAKEN_AT_ONCE):
            self._take_some(touched[at : at + _TAKEN_AT_ONCE], settled_before_ms, checkpoint)
        self._late_before_ms = {}
        for conversation in touched:
            conversation.taken_in = number

    def forget_settled(self, settled_before_ms: int, saved: int) -> None:
        """Let go of what has settled, but of none that a later checkpoint than this saved one has taken."""
        later = []
        while self._steps and (self._steps[0] + 1) * _STEP_MS <= settled_before_ms:
            for kafka_key in self._settling.pop(heappop(self._steps)):
                conversation = self._conversations.get(kafka_key)
                if conversation is None:
                    continue
                conversation.is_queued = False
                if conversation.settles_ms < settled_before_ms and conversation.taken_in <= saved:
                    self._forget(conversation)
                else:
                    later.append(conversation)
        for conversation in later:
            self._queue(conversation)

    def forget_idle(self, freed_bytes: int, saved: int) -> None:
        """Let go of those touched longest ago until so much is free, but of none taken later than saved."""
        kept_bytes = self.held_bytes - freed_bytes
        for conversation in sorted(self._conversations.values(), key=attrgetter("taken_in")):
            if self.held_bytes <= kept_bytes or conversation.taken_in > saved:
                break
            self._forget(conversation)

    def _forget(self, conversation: Conversation) -> None:
        del self._conversations[conversation.kafka_key]
        self.held_bytes -= conversation.facts.saved_bytes + CONVERSATION_BYTES

    def _queue(self, conversation: Conversation) -> None:
        step = conversation.settles_ms // _STEP_MS
        if step not in self._settling:
            self._settling[step] = []
            heappush(self._steps, step)
        self._settling[step].append(conversation.kafka_key)
        conversation.is_queued = True

    def _take_some(
        self, conversations: Sequence[Conversation], settled_before_ms: int, checkpoint: Checkpoint
    ) -> None:
        names = [conversation.names() for conversation in conversations]
        bills, begun_ms = self._bills(conversations, names, settled_before_ms)
        self._write(conversations, names, bills, settled_before_ms, checkpoint)
        for conversation, its_names, settles_ms, its_begun_ms in zip(
            conversations, names, bills.settles_ms, begun_ms, strict=True
        ):
            facts, key = conversation.facts, conversation_key(conversation.kafka_key)
            conversation.settles_ms = settles_ms
            self.held_bytes -= facts.saved_bytes
            chunk = facts.take_chunk()
            if chunk[0]:
                checkpoint.chunks.append(ChunkRow(key, conversation.revision, *chunk))
            self.held_bytes += facts.saved_bytes
            checkpoint.conversations.append(
                ConversationRow(
                    *(key, *its_names, self.number, conversation.revision, settles_ms),
                    *(conversation.record_ids, its_begun_ms),
                )
            )
            if not conversation.is_queued:
                self._queue(conversation)

    def _write(
        self,
        conversations: Sequence[Conversation],
        names: Sequence[tuple[str, str, str]],
        bills: Bills,
        settled_before_ms: int,
        checkpoint: Checkpoint,
    ) -> None:
        """Write the records that were not told as they are now, and void those that vanished."""
        blocks, ends = bills.blocks, list(accumulate(bills.counts))
        # When an open session settles is told of its last block alone; the next session has a first block.
        is_last = [after.block == 1 for after in blocks[1:]] + [True] * bool(blocks)
        for end in filter(None, ends):
            is_last[end - 1] = True
        told = [
            block if last or block.settles_ms < settled_before_ms else block[:-1]
            for block, last in zip(blocks, is_last, strict=True)
        ]
        hashes = np.fromiter(map(hash, told), np.int64, len(told)).tobytes()
        ids = [b""] * len(blocks)
        for conversation, begin, end in zip(conversations, [0, *ends], ends, strict=False):
            now = hashes[begin * HASH_BYTES : end * HASH_BYTES]
            for at, told_id in enumerate(_told(conversation, now), begin):
                ids[at] = told_id
        untold = [at for at, told_id in enumerate(ids) if not told_id]
        place_of = np.arange(len(conversations)).repeat(bills.counts)[untold].tolist()
        new_ids = usage_session_ids(
            (conversations[place].kafka_key, blocks[at].session_started_ms, blocks[at].block)
            for place, at in zip(place_of, untold, strict=True)
        )
        for at, place, session_id in zip(untold, place_of, new_ids, strict=True):
            ids[at] = session_id
            block, conversation = blocks[at], conversations[place]
            account_id, bot_id, conversation_id = names[place]
            is_settled = block.settles_ms < settled_before_ms
            checkpoint.records.append(
                RecordRow(
                    *(session_id, "usage", account_id, bot_id, block.user_id, block.channel, conversation_id),
                    *block[:8],
                    "final" if is_settled else "open",
                    conversation.revision,
                    block.settles_ms < self._late_before_ms.get(conversation.kafka_key, 0),
                    None if is_settled or told[at] is not block else block.settles_ms,
                    self.number,
                )
            )
        for conversation, begin, end in zip(conversations, [0, *ends], ends, strict=False):
            its_ids, before = ids[begin:end], conversation.blocks_before
            told_ids, revision = conversation.record_ids, conversation.revision
            known = split(told_ids[before * ID_BYTES :], ID_BYTES)
            checkpoint.voids += [VoidRow(gone, revision) for gone in sorted(set(known).difference(its_ids))]
            conversation.tell(
                told_ids[: before * ID_BYTES] + b"".join(its_ids),
                conversation.hashes[: before * HASH_BYTES] + hashes[begin * HASH_BYTES : end * HASH_BYTES],
            )
            conversation.tail = tail_of(
                *(conversation.facts, blocks[begin:end], bills.spoken_ms[begin:end]),
                *(settled_before_ms, conversation.tail),
            )

    def _bills(
        self,
        conversations: Sequence[Conversation],
        names: Sequence[tuple[str, str, str]],
        settled_before_ms: int,
    ) -> tuple[Bills, list[int]]:
        """The bills of conversations, of some from their tail on, and the times of their first facts.

        Those with copies in conflict come last.
        """
        for conversation in conversations:
            if conversation.tail and not conversation.tail.holds(conversation.facts):
                conversation.tail = None
        bills, begun_ms = self._bill(conversations, names)
        left = [
            conversation
            for conversation, end, count in zip(
                conversations, accumulate(bills.counts), bills.counts, strict=True
            )
            if (tail := conversation.tail)
            and not tail.is_open(bills.blocks[end - count : end], settled_before_ms)
        ]
        for conversation in left:
            conversation.tail = None
        return self._bill(conversations, names) if left else (bills, begun_ms)

    def _bill(
        self, conversations: Sequence[Conversation], names: Sequence[tuple[str, str, str]]
    ) -> tuple[Bills, list[int]]:
        begun_ms = [0] * len(conversations)
        tails = {
            place: tail for place, conversation in enumerate(conversations) if (tail := conversation.tail)
        }

        def in_force(place: int, earliest_ms: int) -> RuleSet:
            account_id, bot_id, _ = names[place]
            if seal := conversations[place].seal:
                earliest_ms = seal.begun_ms
            elif place in tails:
                earliest_ms = tails[place].earliest_ms
            begun_ms[place] = earliest_ms
            return self._rules.in_force(account_id, bot_id, earliest_ms)

        sets = [conversation.facts for conversation in conversations]
        for place, tail in tails.items():
            sets[place] = sets[place].since(tail.place, tail.spoken_ms)
        winning = sum(facts.all_win for facts in sets)
        bills = bill_many(sets[:winning], in_force, {place: tail.begun for place, tail in tails.items()})
        for place in range(winning, len(sets)):
            facts = sets[place].unpacked()
            blocks, settles_ms = bill(facts, in_force(place, facts.earliest_ms))
            bills.blocks.extend(blocks)
            bills.counts.append(len(blocks))
            bills.settles_ms.append(settles_ms)
            bills.spoken_ms.extend([0] * len(blocks))
        return bills, begun_ms


def _told(conversation: Conversation, hashes: bytes) -> list[bytes]:
    """The ids of the records with these hashes, as far as the ledger was told of each just so; else none."""
    record_ids = conversation.record_ids
    if not record_ids:
        return []
    before = conversation.blocks_before
    same = map(eq, split(conversation.hashes[before * HASH_BYTES :], HASH_BYTES), split(hashes, HASH_BYTES))
    ids = split(record_ids[before * ID_BYTES :], ID_BYTES)
    return [session_id if is_same else b"" for session_id, is_same in zip(ids, same, strict=False)]
