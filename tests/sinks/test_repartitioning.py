"""Moving a ledger to other numbers of partitions: all of it or nothing, and whoever read there is fenced."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from schemas.topics import Topic, join_key, partition_of
from sinks.ledger import Fenced, LimitCounts, Position, Refused, SourcePartition, SourceTopic
from sinks.repartitioning import Layout, Moved, Repartition, count_moves, repartition
from tests.sinks.builders import (
    ALERTS,
    HANDOFFS,
    MESSAGES,
    MINUTE_MS,
    NOON_MS,
    alert,
    chunk,
    conversation,
    id_of,
    start_worker,
    usage,
)

NUMBERS = range(1, 41)
ALERT_NUMBERS = range(101, 121)
PARTITIONS = 3
ADDED = {1: 7, 2: 0}
PAIR = [
    Layout(MESSAGES.topic, Topic.CONVERSATION, PARTITIONS, ADDED),
    Layout(HANDOFFS.topic, Topic.AGENT_HANDOFF, PARTITIONS, ADDED),
]
OF_ALERTS = [Layout(ALERTS.topic, Topic.ALERT_DELIVERY, PARTITIONS, ADDED)]


@pytest.fixture
async def worker(ledger):
    """One that has saved conversations and alerts, all of them in the only shard that there was."""
    topics = (MESSAGES.topic, HANDOFFS.topic, ALERTS.topic)
    await ledger.remember_topics({topic: SourceTopic(1, UUID(int=1)) for topic in topics})
    started = await start_worker(ledger)
    content = {
        "conversations": [conversation(number) for number in NUMBERS],
        "chunks": [chunk(number) for number in NUMBERS],
        "records": [*map(usage, NUMBERS), *map(alert, ALERT_NUMBERS)],
    }
    await ledger.save(started.checkpoint(4, counts=LimitCounts(3, 4, 3), **content))
    return started


async def test_conversations_and_their_records_go_where_their_keys_are(inspect, database, worker):
    plan = _plan(worker, PAIR)
    told = await count_moves(database, PAIR)
    shards = {number: _shard(f"c-{number}") for number in NUMBERS}
    moving = sum(shard != 0 for shard in shards.values())
    assert told[MESSAGES.topic] == Moved(moving, moving) and told[HANDOFFS.topic] == Moved(0, 0)
    assert await repartition(database, plan) == told
    assert await _shards(inspect, "select conversation_id, shard from billing.conversation") == {
        f"c-{number}": shard for number, shard in shards.items()
    }
    assert await _shards(inspect, "select subject_id, shard from billing.session_record") == {
        **{f"c-{number}": shard for number, shard in shards.items()},
        **{f"d-{number}": 0 for number in ALERT_NUMBERS},
    }
    assert (await count_moves(database, PAIR))[MESSAGES.topic] == Moved(0, 0)


async def test_alerts_may_go_alone(ledger, inspect, database, worker):
    moved = await repartition(database, _plan(worker, OF_ALERTS))
    shards = {f"d-{number}": _shard(f"d-{number}") for number in ALERT_NUMBERS}
    assert moved == {ALERTS.topic: Moved(0, sum(shard != 0 for shard in shards.values()))}
    found = await _shards(inspect, "select subject_id, shard from billing.session_record")
    assert found == {**{f"c-{number}": 0 for number in NUMBERS}, **shards}
    known = await ledger.known_topics([MESSAGES.topic, ALERTS.topic])
    assert {topic: it.partitions for topic, it in known.items()} == {MESSAGES.topic: 1, ALERTS.topic: 3}


async def test_added_partitions_begin_with_their_logs_and_as_late_as_the_others(inspect, database, worker):
    await repartition(database, _plan(worker, PAIR))
    positions = await inspect.positions()
    for topic in (MESSAGES.topic, HANDOFFS.topic):
        found = [positions[SourcePartition(topic, number)] for number in range(PARTITIONS)]
        assert found == [Position(4, NOON_MS), Position(7, NOON_MS), Position(0, NOON_MS)]
    rows = await inspect.connection.fetch(
        "select first_offset, next_offset, gap_count, limit_run + limit_records + limit_dead_letters"
        " from billing.source_partition where topic = $1 order by partition",
        MESSAGES.topic,
    )
    assert [tuple(row) for row in rows] == [(0, 4, 0, 0), (7, 7, 0, 0), (0, 0, 0, 0)]


async def test_the_worker_there_is_fenced_and_one_that_knows_of_the_change_goes_on(ledger, database, worker):
    await repartition(database, _plan(worker, PAIR))
    with pytest.raises(Fenced):
        await ledger.save(worker.checkpoint(1))
    places = [SourcePartition(topic, 2) for topic in (MESSAGES.topic, HANDOFFS.topic)]
    again = await start_worker(ledger, *places)
    await ledger.save(again.checkpoint(1, NOON_MS + MINUTE_MS))
    assert (await ledger.positions([MESSAGES.topic]))[places[0]].next_offset == 1


async def test_what_settles_in_its_new_shard_is_final(ledger, inspect, database, worker):
    await repartition(database, _plan(worker, PAIR))
    number = next(number for number in NUMBERS if _shard(f"c-{number}") == 2)
    again = await start_worker(ledger, SourcePartition(MESSAGES.topic, 2), SourcePartition(HANDOFFS.topic, 2))
    await ledger.save(again.checkpoint(1, settled=[(2, NOON_MS + 1)]))
    statuses = {record.session_id: record.status for record in await inspect.records()}
    assert statuses[id_of(number)] == "final"
    assert {statuses[id_of(it)] for it in NUMBERS if _shard(f"c-{it}") != 2} == {"open"}


async def test_what_is_to_be_billed_anew_goes_with_its_conversation(inspect, database, worker):
    number = next(number for number in NUMBERS if _shard(f"c-{number}") == 1)
    await inspect.connection.execute(
        "insert into billing.recompute_request (shard, conversation_key, algorithm) values (0, $1, 1)",
        UUID(bytes=id_of(number)),
    )
    await repartition(database, _plan(worker, PAIR))
    assert await inspect.connection.fetchval("select shard from billing.recompute_request") == 1


async def test_many_keys_are_read_in_turn(inspect, database, worker, monkeypatch):
    monkeypatch.setattr("sinks.repartitioning.KEYS_AT_ONCE", 7)
    await repartition(database, _plan(worker, PAIR))
    assert await _shards(inspect, "select conversation_id, shard from billing.conversation") == {
        f"c-{number}": _shard(f"c-{number}") for number in NUMBERS
    }


@pytest.mark.parametrize("what", ["owner", "offset"])
async def test_a_ledger_that_has_moved_meanwhile_is_left_as_it_is(ledger, inspect, database, worker, what):
    plan = _plan(worker, PAIR)
    if what == "owner":
        await start_worker(ledger)
    else:
        await ledger.save(worker.checkpoint(1))
    before = await inspect.everything()
    with pytest.raises(Refused, match="nothing was moved: stop all workers"):
        await repartition(database, plan)
    assert await inspect.everything() == before


async def test_an_added_partition_that_somebody_reads_changes_nothing(ledger, inspect, database, worker):
    plan = _plan(worker, PAIR)
    await ledger.claim(uuid4(), {SourcePartition(MESSAGES.topic, 1): 0})
    before = await inspect.everything()
    with pytest.raises(Refused, match="nothing was moved"):
        await repartition(database, plan)
    assert await inspect.everything() == before


async def test_looking_changes_nothing(inspect, database, worker):
    before = await inspect.everything()
    await count_moves(database, PAIR + OF_ALERTS)
    assert await inspect.everything() == before


async def test_a_workers_login_may_not(database, new_login, worker):
    login = await new_login(database, "in role quarterhour_worker")
    with pytest.raises(Refused, match="permission denied"):
        await repartition(login, _plan(worker, PAIR))


def _plan(worker, layouts) -> Repartition:
    topics = {layout.topic for layout in layouts}
    seen = {source: it.next_offset for source, it in worker.positions.items() if source.topic in topics}
    return Repartition(worker.owner, seen, layouts)


def _shard(subject_id: str) -> int:
    return partition_of(join_key("acme", "sales", subject_id), PARTITIONS)


async def _shards(inspect, sql: str) -> dict[str, int]:
    return dict(await inspect.connection.fetch(sql))
