"""The conversations of one shard in memory: facts in, session records out. Pure: no I/O and no clock.

A conversation is in memory from the moment a fact of it is read (its stored facts are looked up first, so a
bill is never computed from fewer facts than the ledger holds) until it has settled and the checkpoint with
its last facts has committed. There it is little more than its facts as they are stored: what is done with
them is done for all conversations of a batch, or of a checkpoint, at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from heapq import heappop, heappush

from schemas.outcomes import Outcome
from sessionizer.bill import Bill, Block, bill
from sessionizer.bills import MOST_CONVERSATIONS, bill_plain
from sessionizer.ids import usage_session_bytes
from sessionizer.packed import NewFacts, PackedFacts, merge
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Checkpoint, ChunkRow, ConversationRow, RecordRow, StoredConversation, VoidRow

ID_BYTES = 16


def conversation_key(kafka_key: bytes) -> bytes:
    """The 16 bytes that a conversation is stored under."""
    return blake2b(kafka_key, digest_size=ID_BYTES).digest()


class CorruptFacts(Exception):
    """The ledger's facts of a conversation are not as many as it says. The worker must stop."""


class Conversation:
    """One conversation: its facts, and what of their bill the ledger has been told."""

    __slots__ = ("facts", "kafka_key", "late_before_ms", "record_ids", "settles_ms", "told")

    def __init__(self, kafka_key: bytes, facts: PackedFacts) -> None:
        self.kafka_key = kafka_key
        self.facts = facts
        self.settles_ms = 0
        self.record_ids = b""
        # What was told of each record of `record_ids`, as a hash; None after a look-up.
        self.told: tuple[int, ...] | None = ()
        # A fact came when sessions that settle before this had settled: what it adds to them corrects.
        self.late_before_ms = 0

    @classmethod
    def restored(cls, kafka_key: bytes, stored: StoredConversation) -> Conversation:
        """A conversation as the ledger holds it."""
        conversation = cls(kafka_key, PackedFacts(stored.facts, stored.strings))
        if conversation.facts.revision != stored.revision:
            # Better no bill than one computed from fewer facts than there were.
            raise CorruptFacts(
                f"conversation {kafka_key.decode()}: "
                f"the ledger says {stored.revision} facts and holds {conversation.facts.revision}"
            )
        conversation.settles_ms = stored.settles_ms
        conversation.record_ids = stored.record_ids
        conversation.told = None
        return conversation

    def take(self, billed: Bill, shard: int, settled_before_ms: int, checkpoint: Checkpoint) -> None:
        """Put what changed since the last take into a checkpoint, with the bill of all facts."""
        key = conversation_key(self.kafka_key)
        account_id, bot_id, conversation_id = self.names()
        revision = self.facts.revision
        checkpoint.chunks.append(ChunkRow(key, revision, *self.facts.take_chunk()))
        hashes = tuple(map(hash, billed.blocks))
        if hashes != self.told:
            self._write(billed.blocks, hashes, shard, settled_before_ms, checkpoint)
            self.told = hashes
        self.settles_ms = billed.settles_ms
        self.late_before_ms = 0
        checkpoint.conversations.append(
            ConversationRow(
                *(key, account_id, bot_id, conversation_id),
                *(shard, revision, self.settles_ms, self.record_ids),
            )
        )

    def names(self) -> list[str]:
        """The ids of account, bot and conversation."""
        return self.kafka_key.decode().split("|")

    def _write(
        self,
        blocks: Sequence[Block],
        hashes: Sequence[int],
        shard: int,
        settled_before_ms: int,
        checkpoint: Checkpoint,
    ) -> None:
        """Write the records of blocks that were not told as they are now."""
        told = self.told or ()
        account_id, bot_id, conversation_id = self.names()
        revision = self.facts.revision
        before, ids = _split(self.record_ids), []
        for place, block in enumerate(blocks):
            if told[place : place + 1] == hashes[place : place + 1]:
                ids.append(before[place])
                continue
            session_id = usage_session_bytes(
                *(account_id, bot_id, conversation_id), block.session_started_ms, block.block
            )
            ids.append(session_id)
            checkpoint.records.append(
                RecordRow(
                    *(session_id, "usage", account_id, bot_id, block.user_id, block.channel, conversation_id),
                    *block[:6],
                    *(block.user_messages, block.bot_messages),
                    "final" if block.settles_ms < settled_before_ms else "open",
                    revision,
                    block.settles_ms < self.late_before_ms,
                    block.settles_ms,
                    shard,
                )
            )
        if before:
            vanished = set(before).difference(ids)
            checkpoint.voids += [VoidRow(session_id, revision) for session_id in sorted(vanished)]
        self.record_ids = b"".join(ids)


class ConversationShard:
    """The conversations of one source partition number, under one claim."""

    def __init__(self, number: int, rules: RuleBook) -> None:
        self.number = number
        self._rules = rules
        self._conversations: dict[bytes, Conversation] = {}
        self._touched: dict[bytes, Conversation] = {}
        # When those in memory settle, for leaving it; an entry is stale if its conversation settles later
        # by now.
        self._settling: list[tuple[int, bytes]] = []

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
                heappush(self._settling, (conversation.settles_ms, kafka_key))
            else:
                conversation = Conversation(kafka_key, PackedFacts())
            self._conversations[kafka_key] = conversation

    def merge(self, new: NewFacts, settled_before_ms: int) -> Counter[Outcome]:
        """Add facts to conversations in memory; return how many had which outcome."""
        held = [self._conversations[key] for key in new.keys]
        facts = conflicts = 0
        for conversation, added in zip(held, merge([it.facts for it in held], new), strict=True):
            if added.facts or added.conflicts:
                facts += added.facts
                conflicts += added.conflicts
                self._touched[conversation.kafka_key] = conversation
                if added.earliest_ms < settled_before_ms:
                    conversation.late_before_ms = settled_before_ms
        repeats = len(new.rows) - facts - conflicts
        return +Counter({Outcome.FACT: facts, Outcome.CONFLICT: conflicts, Outcome.REPEAT: repeats})

    def take(self, settled_before_ms: int, checkpoint: Checkpoint) -> None:
        """Put all that changed since the last take into a checkpoint."""
        touched = list(self._touched.values())
        self._touched = {}
        for conversation, billed in zip(touched, self._bills(touched), strict=True):
            conversation.take(billed, self.number, settled_before_ms, checkpoint)
            heappush(self._settling, (conversation.settles_ms, conversation.kafka_key))

    def forget_settled(self, settled_before_ms: int) -> None:
        """Let go of what had settled in a checkpoint that has committed, and was not touched since."""
        while self._settling and self._settling[0][0] < settled_before_ms:
            _, kafka_key = heappop(self._settling)
            conversation = self._conversations.get(kafka_key)
            if (
                conversation
                and kafka_key not in self._touched
                and conversation.settles_ms < settled_before_ms
            ):
                del self._conversations[kafka_key]

    def _bills(self, conversations: Sequence[Conversation]) -> Iterator[Bill]:
        plain = [conversation for conversation in conversations if conversation.facts.is_plain]
        bills = self._plain_bills(plain)
        for conversation in conversations:
            if conversation.facts.is_plain:
                yield next(bills)
            else:
                facts = conversation.facts.unpacked()
                yield bill(facts, self._in_force(conversation, facts.earliest_ms))

    def _plain_bills(self, plain: Sequence[Conversation]) -> Iterator[Bill]:
        for at in range(0, len(plain), MOST_CONVERSATIONS):
            some = plain[at : at + MOST_CONVERSATIONS]
            yield from bill_plain(
                [conversation.facts.facts for conversation in some],
                [conversation.facts.strings for conversation in some],
                lambda place, earliest_ms, some=some: self._in_force(some[place], earliest_ms),
            )

    def _in_force(self, conversation: Conversation, earliest_ms: int) -> RuleSet:
        account_id, bot_id, _ = conversation.names()
        return self._rules.in_force(account_id, bot_id, earliest_ms)


def _split(ids: bytes) -> list[bytes]:
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]
