"""The ledger in PostgreSQL does what every ledger does, and what only it has to do."""

from __future__ import annotations

from uuid import UUID

from sinks import postgres
from sinks.ledger import SourceTopic
from tests.sinks.builders import MESSAGES, NOON_MS, id_of, session, settled, start_worker, usage
from tests.sinks.conftest import ALGORITHM
from tests.sinks.contract import LedgerContract


class TestPostgresLedger(LedgerContract):
    """The suite of every ledger."""


async def test_a_record_keeps_the_version_of_the_code_that_computed_it(ledger, inspect):
    worker = await start_worker(ledger)
    await ledger.save(worker.checkpoint(records=[usage()]))
    assert [record.algorithm for record in await inspect.records()] == [ALGORITHM]


async def test_more_than_one_checkpoint_can_settle_is_settled_by_the_next_oldest_first(
    ledger, inspect, monkeypatch
):
    monkeypatch.setattr(postgres, "SETTLE_LIMIT", 2)
    worker = await start_worker(ledger)
    await ledger.save(
        worker.checkpoint(records=[usage(number, settles_ms=NOON_MS - number) for number in range(5)])
    )
    final = []
    for _ in range(4):
        changes = await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        final.append(changes.total())
    assert final == [2, 2, 1, 0]
    order = [int.from_bytes(change.record.session_id, "big") for change in await inspect.changes()]
    assert [set(order[:2]), set(order[2:4]), set(order[4:])] == [{4, 3}, {2, 1}, {0}]


async def test_what_a_checkpoint_settles_is_counted_in_sessions(ledger, inspect, monkeypatch):
    monkeypatch.setattr(postgres, "SETTLE_LIMIT", 1)
    worker = await start_worker(ledger)
    rows = session(3, 1, settles_ms=NOON_MS) + session(3, 4, settles_ms=NOON_MS - 1)
    await ledger.save(worker.checkpoint(records=rows))
    await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
    assert [record.status for record in await inspect.records()] == ["open"] * 3 + ["final"] * 3


async def test_positions_are_those_of_the_topics_asked_for(ledger):
    worker = await start_worker(ledger)
    await ledger.save(worker.checkpoint(3))
    assert await ledger.positions([MESSAGES.topic]) == {MESSAGES: worker.positions[MESSAGES]}
    assert await ledger.positions([]) == {}


async def test_topics_are_remembered_as_they_were_at_the_first_start(ledger):
    first = {"a": SourceTopic(8, UUID(int=1)), "b": SourceTopic(4, UUID(int=2))}
    assert await ledger.remember_topics(first) == first
    later = {"a": SourceTopic(16, UUID(int=9)), "c": SourceTopic(2, UUID(int=3))}
    assert await ledger.remember_topics(later) == {"a": first["a"], "c": later["c"]}
    assert await ledger.known_topics(["b", "c", "d"]) == {"b": first["b"], "c": later["c"]}


async def test_the_id_of_a_topic_that_was_read_before_ids_were_kept_is_filled_in_once(ledger):
    await ledger.remember_topics({"a": SourceTopic(8, None)})
    for number in (1, 2):
        found = await ledger.remember_topics({"a": SourceTopic(8, UUID(int=number))})
        assert found == {"a": SourceTopic(8, UUID(int=1))}


async def test_the_default_rules_are_in_force_from_the_first(ledger):
    [rules] = await ledger.rule_sets()
    assert rules == {
        "account_id": None,
        "bot_id": None,
        "effective_ms": 0,
        "block_ms": 900_000,
        "idle_timeout_ms": 900_000,
        "handoff_timeout_ms": 86_400_000,
    }


async def test_a_large_checkpoint_is_saved_in_one_piece(ledger, inspect):
    worker = await start_worker(ledger)
    rows = [usage(number, user_id="u" * 200) for number in range(20_000)]
    assert (await ledger.save(worker.checkpoint(records=rows))).total() == 20_000
    assert [record.session_id for record in await inspect.records()] == [id_of(n) for n in range(20_000)]
