"""A shard of conversations without a ledger: what its checkpoints write, merge by merge."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionizer.bill import bill
from sessionizer.facts import FactSet
from sessionizer.rules import RuleBook
from sinks.ledger import Checkpoint, RecordRow, SourcePartition
from streams.conversations import ConversationShard
from tests.sessionizer.test_packed import CONVERSATIONS, batches, read_of

RULES = RuleBook()
SOURCE = SourcePartition("conversation", 0)
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


def _before_and_after(before, ids, record):
    return before[f"acme|sales|{record.subject_id}"], ids[record.subject_id]


def _split(ids: bytes) -> list[bytes]:
    return [ids[at : at + 16] for at in range(0, len(ids), 16)]
