"""The conversations of one shard in memory: facts in, session records out. Pure: no I/O and no clock.

A conversation is in memory from the moment a fact of it is read (its stored facts are looked up first, so a
bill is never computed from fewer facts than the ledger holds) until it has settled and the checkpoint with
its last facts has committed. There it is little more than its facts as they are stored: what is done with
them is done for all conversations of a batch, or of a checkpoint, at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import chain, repeat

from schemas.outcomes import Outcome
from sessionizer.bill import Bill, Block, bill
from sessionizer.bills import MOST_CONVERSATIONS, bill_plain
from sessionizer.ids import usage_session_bytes
from sessionizer.packed import NewFacts, PackedFacts, merge
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Checkpoint, ChunkRow, ConversationRow, RecordRow, StoredConversation, VoidRow

ID_BYTES = 16
HASH_BYTES = 8
TOLD_BYTES = ID_BYTES + HASH_BYTES
NOTHING_TOLD = bytes(HASH_BYTES)
CONVERSATION_BYTES = 600
"""What a conversation in memory takes beside its facts and strings, about."""
# Conversations that settle within so long of each other leave memory together.
_STEP_MS = 10_000


def conversation_key(kafka_key: bytes) -> bytes:
    """The 16 bytes that a conversation is stored under."""
    return blake2b(kafka_key, digest_size=ID_BYTES).digest()


class CorruptFacts(Exception):
    """The ledger's facts of a conversation are not as many as it says. The worker must stop."""


class Conversation:
    """One conversation: its facts, and what of their bill the ledger has been told."""

    __slots__ = ("facts", "is_queued", "kafka_key", "late_before_ms", "settles_ms", "told")

    def __init__(self, kafka_key: bytes, facts: PackedFacts) -> None:
        self.kafka_key = kafka_key
        self.facts = facts
        self.settles_ms = 0
        # The records that exist, in the order of the bill: the id of each, and a hash of what was told of it.
        self.told = b""
        # A fact came when sessions that settle before this had settled: what it adds to them corrects.
        self.late_before_ms = 0
        self.is_queued = False

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
        conversation.told = b"".join(
            [session_id + NOTHING_TOLD for session_id in _split(stored.record_ids, ID_BYTES)]
        )
        return conversation

    def take(self, billed: Bill, shard: int, settled_before_ms: int, checkpoint: Checkpoint) -> None:
        """Put what changed since the last take into a checkpoint, with the bill of all facts."""
        key = conversation_key(self.kafka_key)
        names = self.names()
        revision = self.facts.revision
        checkpoint.chunks.append(ChunkRow(key, revision, *self.facts.take_chunk()))
        self._write(billed.blocks, names, shard, settled_before_ms, checkpoint)
        self.settles_ms = billed.settles_ms
        self.late_before_ms = 0
        record_ids = b"".join([told[:ID_BYTES] for told in _split(self.told, TOLD_BYTES)])
        checkpoint.conversations.append(
            ConversationRow(key, *names, shard, revision, self.settles_ms, record_ids)
        )

    def names(self) -> tuple[str, str, str]:
        """The ids of account, bot and conversation."""
        account_id, bot_id, conversation_id = self.kafka_key.decode().split("|")
        return account_id, bot_id, conversation_id

    def _write(
        self,
        blocks: Sequence[Block],
        names: tuple[str, str, str],
        shard: int,
        settled_before_ms: int,
        checkpoint: Checkpoint,
    ) -> None:
        """Write the records of blocks that were not told as they are now, and void those that vanished."""
        account_id, bot_id, conversation_id = names
        revision = self.facts.revision
        before = _split(self.told, TOLD_BYTES)
        now = []
        for block, known in zip(blocks, chain(before, repeat(b"")), strict=False):
            hashed = hash(block).to_bytes(HASH_BYTES, "big", signed=True)
            if known[ID_BYTES:] == hashed:
                now.append(known)
                continue
            session_id = usage_session_bytes(
                *(account_id, bot_id, conversation_id), block.session_started_ms, block.block
            )
            now.append(session_id + hashed)
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
            vanished = {told[:ID_BYTES] for told in before}.difference([told[:ID_BYTES] for told in now])
            checkpoint.voids += [VoidRow(session_id, revision) for session_id in sorted(vanished)]
        self.told = b"".join(now)


class ConversationShard:
    """The conversations of one source partition number, under one claim."""

    def __init__(self, number: int, rules: RuleBook) -> None:
        self.number = number
        self.held_bytes = 0
        """What the conversations in memory take, about."""
        self._rules = rules
        # Those touched longest ago come first.
        self._conversations: dict[bytes, Conversation] = {}
        self._touched: dict[bytes, Conversation] = {}
        # By the time they settle, in steps: each conversation stands in one place, perhaps before its time.
        self._settling: dict[int, list[bytes]] = {}
        self._steps: list[int] = []

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

    def merge(self, new: NewFacts, settled_before_ms: int) -> Counter[Outcome]:
        """Add facts to conversations in memory; return how many had which outcome."""
        held = [self._conversations[key] for key in new.keys]
        facts = conflicts = 0
        for conversation, added in zip(held, merge([it.facts for it in held], new), strict=True):
            if added.facts or added.conflicts:
                facts += added.facts
                conflicts += added.conflicts
                key = conversation.kafka_key
                self._touched[key] = self._conversations[key] = self._conversations.pop(key)
                if added.earliest_ms < settled_before_ms:
                    conversation.late_before_ms = settled_before_ms
        repeats = len(new.rows) - facts - conflicts
        return +Counter({Outcome.FACT: facts, Outcome.CONFLICT: conflicts, Outcome.REPEAT: repeats})

    def take(self, settled_before_ms: int, checkpoint: Checkpoint) -> None:
        """Put all that changed since the last take into a checkpoint."""
        touched = list(self._touched.values())
        self._touched = {}
        for conversation, billed in zip(touched, self._bills(touched), strict=True):
            saved_bytes = conversation.facts.saved_bytes
            conversation.take(billed, self.number, settled_before_ms, checkpoint)
            self.held_bytes += conversation.facts.saved_bytes - saved_bytes
            if not conversation.is_queued:
                self._queue(conversation)

    def forget_settled(self, settled_before_ms: int) -> None:
        """Let go of what had settled in a checkpoint that has committed, and was not touched since."""
        while self._steps and (self._steps[0] + 1) * _STEP_MS <= settled_before_ms:
            for kafka_key in self._settling.pop(heappop(self._steps)):
                conversation = self._conversations.get(kafka_key)
                if conversation is None:
                    continue
                conversation.is_queued = False
                if kafka_key in self._touched:
                    continue  # it will be queued when it is taken
                if conversation.settles_ms < settled_before_ms:
                    self._forget(conversation)
                else:
                    self._queue(conversation)

    def forget_idle(self, freed_bytes: int) -> None:
        """Let go of those touched longest ago until so much is free, but of none that is not saved.

        Only after a checkpoint has committed: then the ledger holds all that is forgotten.
        """
        gone, gone_bytes = [], 0
        for kafka_key, conversation in self._conversations.items():
            if gone_bytes >= freed_bytes:
                break
            if kafka_key not in self._touched:
                gone.append(conversation)
                gone_bytes += conversation.facts.saved_bytes + CONVERSATION_BYTES
        for conversation in gone:
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
            yield from bill_plain([conversation.facts for conversation in some], self._rules_of(some))

    def _rules_of(self, conversations: Sequence[Conversation]) -> Callable[[int, int], RuleSet]:
        return lambda place, earliest_ms: self._in_force(conversations[place], earliest_ms)

    def _in_force(self, conversation: Conversation, earliest_ms: int) -> RuleSet:
        account_id, bot_id, _ = conversation.names()
        return self._rules.in_force(account_id, bot_id, earliest_ms)


def _split(joined: bytes, length: int) -> list[bytes]:
    return [joined[at : at + length] for at in range(0, len(joined), length)]
