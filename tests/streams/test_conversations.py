"""A shard of conversations without a ledger: what its checkpoints write, merge by merge."""

from collections.abc import Iterable
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionizer import tails
from sessionizer.bill import bill
from sessionizer.facts import CLOSED, USER_MESSAGE, FactSet
from sessionizer.packed import Origins, ReadFacts, pack
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Checkpoint, RecordRow, SourcePartition
from streams.conversations import ConversationShard
from tests.sessionizer.test_packed import CONVERSATIONS, batches, read_of

RULES = RuleBook()


@pytest.fixture(params=[1, tails.LONG_FACTS], ids=lambda facts: f"long from {facts}", autouse=True)
def long_conversations(request, monkeypatch):
    """Long ones and others are billed in different ways."""
    monkeypatch.setattr(tails, "LONG_FACTS", request.param)


SOURCE = SourcePartition("conversation", 0)
MINUTE_MS = 60_000
# No fact is so old; or all are late, and what they change is a correction.
SETTLED = st.sampled_from([0, 1 << 43])
NAMES = [f"acme|sales|{place}" for place in CONVERSATIONS]


def without_marks(record: RecordRow) -> RecordRow:
    """What a record says, less when and how it came to say so."""
    return record._replace(revision=0, late=False, status="")


def expected_of(known: FactSet) -> list[tuple]:
    """The bill's blocks, if there is any fact."""
    return [block[:6] for block in bill(known, RULES.in_force("acme", "sales", known.earliest_ms)).blocks]


@settings(max_examples=300, deadline=None)
@given(batches, st.data())
def test_any_split_into_merges_and_takes_writes_the_bill_and_no_record_twice_alike(batches, data):
    shard, known = ConversationShard(0, RULES), [FactSet() for _ in CONVERSATIONS]
    written: dict[bytes, RecordRow] = {}
    before: dict[str, list[bytes]] = {name: [] for name in NAMES}
    for batch in [*batches, []]:
        read = read_of(batch)
        for place, fact in batch:
            known[place].add(*fact)
        read.origins.keys[:] = [b"acme|sales|" + key for key in read.origins.keys]
        shard.keep(SOURCE, read, data.draw(SETTLED))
        if batch and data.draw(st.booleans()):
            continue
        for portion in shard.cut():
            shard.admit(shard.unknown(portion.facts.keys), {})
            shard.merge(portion)
        if batch and data.draw(st.booleans()):
            continue
        checkpoint = Checkpoint(UUID(int=1), ())
        shard.take(0, 1, checkpoint)
        ids = {row.conversation_id: _split(row.record_ids) for row in checkpoint.conversations}
        for record in checkpoint.records:
            told = written.get(record.session_id)
            at = [its.index(record.session_id) for its in _before_and_after(before, ids, record) if told]
            # One that moved on in its bill may be written as it was: the ledger sees that it is the same.
            assert told is None or len(set(at)) > 1 or without_marks(told) != without_marks(record)
            written[record.session_id] = record
        for void in checkpoint.voids:
            del written[void.session_id]
        before |= {f"acme|sales|{place}": its for place, its in ids.items()}
    for name, facts in zip(NAMES, known, strict=True):
        found = [written[session_id][7:13] for session_id in before[name]]
        assert found == (expected_of(facts) if facts.revision else [])
    assert len(written) == sum(map(len, before.values()))


class Talk:
    """Conversations in a shard: in each a user's message a minute, so a block for every 15."""

    def __init__(self, minutes: int, conversations: int = 1, rules: RuleBook = RULES) -> None:
        self.shard = ConversationShard(0, rules)
        self.keys = [b"acme|sales|c-%d" % number for number in range(conversations)]
        self.takes = 0
        self.say(range(minutes + 1))

    def say(self, minutes: Iterable[int], settled_before_ms: int = 0, kind: int = USER_MESSAGE) -> Checkpoint:
        """What a checkpoint writes after messages in these minutes."""
        origins = range(len(self.keys))
        rows = [(minute * MINUTE_MS, kind, 7 + minute, origin) for origin in origins for minute in minutes]
        times_ms, kinds, identities, of = np.array(rows, np.int64).reshape(-1, 4).T
        facts = pack(times_ms, kinds, identities.astype(np.uint64), of)
        self.shard.keep(SOURCE, ReadFacts(facts, Origins(self.keys, ["|u-1|web"] * len(self.keys))), 0)
        for portion in self.shard.cut():
            self.shard.admit(self.shard.unknown(portion.facts.keys), {})
            self.shard.merge(portion)
        self.takes += 1
        checkpoint = Checkpoint(UUID(int=1), ())
        self.shard.take(settled_before_ms, self.takes, checkpoint)
        return checkpoint


def told(checkpoint: Checkpoint) -> list[tuple[int | None, str, int | None]]:
    """Of each record that is written: its block, its status, and when its session settles, in minutes."""
    return [
        (row.block, row.status, None if row.settles_ms is None else row.settles_ms // MINUTE_MS)
        for row in checkpoint.records
    ]


def test_a_message_in_a_long_session_writes_its_last_record_alone():
    talk = Talk(100)
    assert told(talk.say([101])) == [(7, "open", 116)]
    assert told(talk.say([102])) == [(7, "open", 117)]


def test_each_conversation_of_a_checkpoint_has_last_records_of_its_own():
    talk = Talk(100, conversations=3)
    assert told(talk.say([101])) == [(7, "open", 116)] * 3


def test_a_conversation_keeps_the_rules_that_were_in_force_when_it_began():
    lengths = {"idle_timeout_ms": 15 * MINUTE_MS, "handoff_timeout_ms": 60 * MINUTE_MS}
    later = RuleSet(20 * MINUTE_MS, block_ms=5 * MINUTE_MS, **lengths)
    talk = Talk(100, rules=RuleBook([RuleSet(0, block_ms=15 * MINUTE_MS, **lengths), later]))
    assert told(talk.say([101])) == [(7, "open", 116)]


def test_a_new_block_writes_the_last_record_before_it_once_more():
    talk = Talk(105)
    assert told(talk.say([106])) == [(7, "open", None), (8, "open", 121)]
    assert told(talk.say([107])) == [(8, "open", 122)]


def test_a_message_that_is_not_the_newest_writes_its_own_record():
    talk = Talk(29)
    talk.say([31])
    assert told(talk.say([30])) == [(2, "open", None)]


def test_a_session_that_a_message_leaves_settled_is_told_with_all_its_records():
    talk = Talk(40)
    assert told(talk.say([41], settled_before_ms=57 * MINUTE_MS)) == [
        (block, "final", None) for block in (1, 2, 3)
    ]


def test_a_close_behind_the_last_block_makes_the_one_before_the_last():
    talk = Talk(45)
    talk.say([47])
    assert told(talk.say([46], kind=CLOSED)) == [(3, "open", 46), (1, "open", 62)]


def test_a_session_that_settled_since_is_left_to_the_ledger_by_what_is_said_in_the_next():
    talk = Talk(10)
    assert told(talk.say([60], settled_before_ms=30 * MINUTE_MS)) == [(1, "open", 75)]


def _before_and_after(before, ids, record):
    return before[f"acme|sales|{record.subject_id}"], ids[record.subject_id]


def _split(ids: bytes) -> list[bytes]:
    return [ids[at : at + 16] for at in range(0, len(ids), 16)]
