"""The conversations of one shard in memory: facts in, session records out. Pure: no I/O and no clock.

A conversation is in memory from the moment a fact of it is read (its stored facts are looked up first, so a
bill is never computed from fewer facts than the ledger holds) until it has settled and the checkpoint with
its last facts has committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import blake2b
from heapq import heappop, heappush

from schemas.outcomes import Outcome
from sessionizer.bill import Block, bill
from sessionizer.facts import FactSet, NewFact
from sessionizer.ids import usage_session_bytes
from sessionizer.rules import RuleBook
from sinks.ledger import Checkpoint, ChunkRow, ConversationRow, RecordRow, StoredConversation, VoidRow

ID_BYTES = 16


def conversation_key(kafka_key: bytes) -> bytes:
    """The 16 bytes that a conversation is stored under."""
    return blake2b(kafka_key, digest_size=ID_BYTES).digest()


class CorruptFacts(Exception):
    """The ledger's facts of a conversation are not as many as it says. The worker must stop."""


class Conversation:
    """One conversation: its facts, and what of their bill the ledger has been told."""

    __slots__ = (
        "account_id",
        "bot_id",
        "conversation_id",
        "facts",
        "key",
        "late_before_ms",
        "record_ids",
        "settles_ms",
        "written",
    )

    def __init__(self, kafka_key: bytes, key: bytes) -> None:
        self.key = key
        self.account_id, self.bot_id, self.conversation_id = kafka_key.decode().split("|")
        self.facts = FactSet()
        self.settles_ms = 0
        self.record_ids = b""
        # The records told, by session start and block; empty after a look-up, whose record_ids say only
        # which exist.
        self.written: dict[tuple[int, int], tuple[bytes, Block]] = {}
        # A fact came when sessions that settle before this had settled: what it adds to them corrects.
        self.late_before_ms = 0

    def restore(self, stored: StoredConversation) -> None:
        """Take on what the ledger holds of it."""
        self.facts = FactSet.load(stored.facts, stored.strings)
        if self.facts.revision != stored.revision:
            # Better no bill than one computed from fewer facts than there were.
            raise CorruptFacts(
                f"conversation {self.account_id}|{self.bot_id}|{self.conversation_id}: "
                f"the ledger says {stored.revision} facts and holds {self.facts.revision}"
            )
        self.settles_ms = stored.settles_ms
        self.record_ids = stored.record_ids

    def take(self, shard: int, settled_before_ms: int, rules: RuleBook, checkpoint: Checkpoint) -> None:
        """Put what changed since the last take into a checkpoint."""
        facts, strings = self.facts.take_chunk()
        revision = self.facts.revision
        checkpoint.chunks.append(ChunkRow(self.key, revision, facts, strings))
        in_force = rules.in_force(self.account_id, self.bot_id, self.facts.earliest_ms)
        billed = bill(self.facts, in_force)
        self._write(billed.blocks, shard, settled_before_ms, checkpoint)
        self.settles_ms = billed.settles_ms
        self.late_before_ms = 0
        checkpoint.conversations.append(
            ConversationRow(
                key=self.key,
                account_id=self.account_id,
                bot_id=self.bot_id,
                conversation_id=self.conversation_id,
                shard=shard,
                revision=revision,
                settles_ms=self.settles_ms,
                record_ids=self.record_ids,
            )
        )

    def _write(
        self, blocks: Sequence[Block], shard: int, settled_before_ms: int, checkpoint: Checkpoint
    ) -> None:
        before, self.written = self.written, {}
        revision = self.facts.revision
        for block in blocks:
            place = (block.session_started_ms, block.block)
            session_id, told = before.get(place) or (self._session_id(place), None)
            self.written[place] = (session_id, block)
            if block != told:
                status = "final" if block.settles_ms < settled_before_ms else "open"
                checkpoint.records.append(self._record(session_id, block, status, revision, shard))
        ids = [session_id for session_id, _ in self.written.values()]
        vanished = set(_split(self.record_ids)).difference(ids)
        checkpoint.voids += [VoidRow(session_id, revision) for session_id in sorted(vanished)]
        self.record_ids = b"".join(ids)

    def _session_id(self, place: tuple[int, int]) -> bytes:
        return usage_session_bytes(self.account_id, self.bot_id, self.conversation_id, *place)

    def _record(self, session_id: bytes, block: Block, status: str, revision: int, shard: int) -> RecordRow:
        return RecordRow(
            session_id=session_id,
            kind="usage",
            account_id=self.account_id,
            bot_id=self.bot_id,
            user_id=block.user_id,
            channel=block.channel,
            subject_id=self.conversation_id,
            session_started_ms=block.session_started_ms,
            block=block.block,
            started_ms=block.started_ms,
            ended_ms=block.ended_ms,
            bot_ms=block.bot_ms,
            agent_ms=block.agent_ms,
            user_messages=block.user_messages,
            bot_messages=block.bot_messages,
            status=status,
            revision=revision,
            late=block.settles_ms < self.late_before_ms,
            settles_ms=block.settles_ms,
            shard=shard,
        )


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
            conversation = self._conversations[kafka_key] = Conversation(kafka_key, key)
            if key in stored:
                conversation.restore(stored[key])
                heappush(self._settling, (conversation.settles_ms, kafka_key))

    def merge(self, by_key: Mapping[bytes, Sequence[NewFact]], settled_before_ms: int) -> Counter[Outcome]:
        """Add facts to conversations in memory; return how many had which outcome."""
        facts = conflicts = 0
        for kafka_key, read in by_key.items():
            conversation = self._conversations[kafka_key]
            added = conversation.facts.add_all(read)
            if added.facts or added.conflicts:
                facts += added.facts
                conflicts += added.conflicts
                self._touched[kafka_key] = conversation
                if added.earliest_ms < settled_before_ms:
                    conversation.late_before_ms = settled_before_ms
        repeats = sum(map(len, by_key.values())) - facts - conflicts
        return +Counter({Outcome.FACT: facts, Outcome.CONFLICT: conflicts, Outcome.REPEAT: repeats})

    def take(self, settled_before_ms: int, checkpoint: Checkpoint) -> None:
        """Put all that changed since the last take into a checkpoint."""
        for kafka_key, conversation in self._touched.items():
            conversation.take(self.number, settled_before_ms, self._rules, checkpoint)
            heappush(self._settling, (conversation.settles_ms, kafka_key))
        self._touched = {}

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


def _split(ids: bytes) -> list[bytes]:
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]
