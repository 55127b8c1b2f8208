"""Old facts leave the ledger, and every bill stays as it was: the engine on a real ledger, without Kafka."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterhour.comparing import compare
from quarterhour.lines import decode_line
from schemas.topics import key_of, partition_of
from sessionizer import reference
from sinks.ledger import Fenced, SourcePartition
from sinks.postgres import PostgresLedger
from streams.engine import Engine
from streams.sealing import STEP_MS
from tests.simulation.kafka import LogRecord
from tests.streams.stage import event
from tests.streams.test_engine import (
    MINUTE_MS,
    NOON_MS,
    PARTITIONS,
    PLAN,
    SOURCES,
    Log,
    read_all,
    read_some,
    records_of,
)

DAY_MS = 86_400_000
MAX_AGE_MS = 20 * DAY_MS
SEALING = replace(PLAN, contract=replace(PLAN.contract, max_age_ms=MAX_AGE_MS), seal_after_ms=MAX_AGE_MS)
LONG_SECONDS = 60.0


class DatedLog(Log):
    """Records that arrive at a time of their own; those too old then are nobody's."""

    newest_ms = 0

    def append_at(self, line: bytes, arrived_ms: int) -> None:
        decoded, time_ms, topic = decode_line(line)
        key = key_of(decoded)
        records = self._records[SourcePartition(str(topic), partition_of(key, PARTITIONS))]
        records.append(LogRecord(len(records), arrived_ms, key, line))
        self.newest_ms = max(self.newest_ms, arrived_ms)
        if arrived_ms - time_ms <= MAX_AGE_MS:
            self.lines.append(line)


def months(dice: random.Random) -> Iterator[tuple[int, bytes]]:
    """Conversations that go on for four months, handoffs that may never end: lines, and when they arrive."""
    for number in range(dice.randint(2, 5)):
        name, open_handoff = f"c-{number}", ""
        for day in range(120):
            if dice.random() < 0.8:
                continue
            time_ms = NOON_MS + day * DAY_MS + dice.randrange(DAY_MS)
            for step in range(dice.randint(1, 8)):
                kind = dice.choice(("user", "user", "user", "bot", "closed", "started", "ended"))
                more: dict[str, Any] = {"user_id": dice.choice(("u-1", "u-2"))}
                if kind == "started":
                    open_handoff = f"h-{day}"
                if kind in ("started", "ended"):
                    more["handoff_id"] = open_handoff or "h-0"
                event_id = f"{day}-{step}"
                yield from _arrivals(dice, event(kind, time_ms, name, event_id=event_id, **more), time_ms)
                if dice.random() < 0.03:
                    copy = event(kind, time_ms + dice.randrange(DAY_MS), name, event_id=event_id, **more)
                    yield from _arrivals(dice, copy, time_ms + DAY_MS)
                time_ms += dice.choice((0, MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, 20 * MINUTE_MS))
            if open_handoff and dice.random() < 0.9:
                line = event("ended", time_ms, name, event_id=f"{day}-end", handoff_id=open_handoff)
                yield from _arrivals(dice, line, time_ms)
                open_handoff = ""


def _arrivals(dice: random.Random, line: bytes, time_ms: int) -> Iterator[tuple[int, bytes]]:
    late_ms = dice.choice((0, 0, 0, 0, 0, 0, DAY_MS, MAX_AGE_MS - 2 * DAY_MS, MAX_AGE_MS + 2 * DAY_MS))
    yield time_ms + late_ms + dice.randrange(MINUTE_MS), line
    if dice.random() < 0.1:
        yield time_ms + late_ms + dice.randrange(9 * DAY_MS), line


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_whenever_old_facts_are_sealed_the_bill_stays_the_same(new_database, seed: int) -> None:
    dice = random.Random(seed)
    dsn = await new_database()
    ledger = await PostgresLedger.open(dsn, algorithm=1)
    log, coming = DatedLog(), sorted(months(dice))
    engine, sealed = Engine(ledger, SEALING), 0
    await engine.claim(SOURCES)
    while coming:
        act = dice.choice(("publish", "read", "read", "all", "save", "seal", "crash"))
        if act == "publish":
            for arrived_ms, line in coming[:40]:
                log.append_at(line, arrived_ms)
            del coming[:40]
        elif act == "read":
            await read_some(engine, log, dice)
        elif act == "all":
            await _catch_up(engine, log)
        elif act == "save":
            await engine.checkpoint()
        elif act == "seal":
            sealed += await engine.seal(LONG_SECONDS)
        else:
            engine = Engine(ledger, SEALING)
            await engine.claim(SOURCES)
    await _catch_up(engine, log)
    await engine.checkpoint()
    await engine.checkpoint()
    sealed += await engine.seal(LONG_SECONDS)
    comparison = compare(await records_of(dsn), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    assert sealed, "nothing was old enough"
    assert {key.reason for key in await ledger.outcome_counts()} <= {"", "time_behind"}
    await _check_revisions(dsn, log)
    await ledger.close()


async def _check_revisions(dsn: str, log: DatedLog) -> None:
    """Sealed and kept facts are as many as there ever were."""
    connection = await asyncpg.connect(dsn)
    revisions = await connection.fetchval("select sum(revision) from billing.conversation")
    sealed = await connection.fetchval(
        "select sum(facts) from (select distinct on (conversation_key) facts from billing.seal"
        " order by conversation_key, sealed_through_ms desc) newest"
    )
    kept = await connection.fetchval("select sum(length(facts)) / 18 from billing.fact_chunk")
    await connection.close()
    outcomes = reference.outcomes([decode_line(line)[0] for line in log.lines])
    assert revisions == (sealed or 0) + (kept or 0) == outcomes["fact"] + outcomes["conflict"]


@pytest.fixture
async def ledger(database: str):
    opened = await PostgresLedger.open(database, algorithm=1)
    yield opened
    await opened.close()


async def _two_sessions(ledger: PostgresLedger) -> tuple[Engine, DatedLog]:
    """A conversation with a session long ago and one of today, of which the first has been sealed."""
    log, engine = DatedLog(), Engine(ledger, SEALING)
    today_ms = NOON_MS + MAX_AGE_MS + DAY_MS
    log.append_at(event("user", NOON_MS, event_id="first"), NOON_MS)
    log.append_at(event("user", today_ms, event_id="today"), today_ms)
    await engine.claim(SOURCES)
    await _take(engine, log, today_ms + DAY_MS)
    assert await engine.seal(LONG_SECONDS) == 1
    return engine, log


async def _catch_up(engine: Engine, log: DatedLog, clock_ms: int = 0) -> None:
    """Read all, so that clocks follow the wall clock, which is at the newest record or later."""
    await read_all(engine, log)
    assert engine.current
    for cursor in engine.current.cursors.values():
        cursor.clock_ms = max(cursor.clock_ms, clock_ms, log.newest_ms)


async def _take(engine: Engine, log: DatedLog, clock_ms: int) -> None:
    """Read and save all, and once more, when all that has settled has left memory."""
    await _catch_up(engine, log, clock_ms)
    await engine.checkpoint()
    await engine.checkpoint()


async def test_an_event_behind_the_seal_of_its_conversation_is_a_dead_letter_and_any_other_counts(
    ledger: PostgresLedger, database: str
) -> None:
    engine, log = await _two_sessions(ledger)
    now_ms = NOON_MS + MAX_AGE_MS + 2 * DAY_MS
    older = replace(SEALING, contract=replace(PLAN.contract, max_age_ms=2 * MAX_AGE_MS))
    engine = Engine(ledger, older)
    await engine.claim(SOURCES)
    before = await records_of(database)
    log.append_at(event("user", NOON_MS + MINUTE_MS, event_id="behind"), now_ms)
    log.append_at(event("user", NOON_MS, event_id="first"), now_ms)
    await _take(engine, log, now_ms)
    assert await records_of(database) == before
    counts = {key.reason: count for key, count in (await ledger.outcome_counts()).items() if key.reason}
    assert counts == {"too_old": 2}
    log.append_at(event("user", NOON_MS + 3 * DAY_MS, event_id="after"), now_ms)
    log.append_at(event("user", NOON_MS, "c-9", event_id="other"), now_ms)
    await _take(engine, log, now_ms)
    after = await records_of(database)
    assert len(after) == len(before) + 2, "one after the seal, one of a conversation that has none"
    connection = await asyncpg.connect(database)
    letters = await connection.fetch('select "offset", reason, field, detail, key from billing.dead_letter')
    await connection.close()
    assert {tuple(letter)[1:4] for letter in letters} == {
        ("too_old", "time", "its conversation is sealed through a later time")
    }
    assert {letter["key"] for letter in letters} == {b"acme|sales|c-1"}


async def test_who_lost_a_partition_seals_nothing(ledger: PostgresLedger) -> None:
    log, engine = DatedLog(), Engine(ledger, SEALING)
    log.append_at(event("user", NOON_MS), NOON_MS)
    await engine.claim(SOURCES)
    await _take(engine, log, NOON_MS + 2 * MAX_AGE_MS)
    await Engine(ledger, SEALING).claim(SOURCES)
    with pytest.raises(Fenced):
        await engine.seal(LONG_SECONDS)
    assert engine.current is None
    assert await ledger.sealed_through_ms() == -1


async def test_what_is_in_memory_is_not_sealed(ledger: PostgresLedger) -> None:
    engine, log = await _two_sessions(ledger)
    now_ms = NOON_MS + 3 * MAX_AGE_MS
    log.append_at(event("user", now_ms), now_ms)
    await _catch_up(engine, log)
    await engine.checkpoint()
    assert await engine.seal(LONG_SECONDS) == 0
    await _take(engine, log, now_ms + STEP_MS)
    assert await engine.seal(LONG_SECONDS) == 1


async def test_bills_by_another_algorithm_are_not_sealed(ledger: PostgresLedger, database: str) -> None:
    log, engine = DatedLog(), Engine(ledger, SEALING)
    log.append_at(event("user", NOON_MS), NOON_MS)
    await engine.claim(SOURCES)
    await _take(engine, log, NOON_MS + 2 * MAX_AGE_MS)
    connection = await asyncpg.connect(database)
    await connection.execute("update billing.conversation set record_ids = record_ids || record_ids")
    await connection.close()
    assert await engine.seal(LONG_SECONDS) == 0
    assert await ledger.sealed_through_ms() == -1


async def test_no_more_is_sealed_at_a_time_than_there_is_time(ledger: PostgresLedger) -> None:
    log, engine = DatedLog(), Engine(ledger, SEALING)
    for number in range(5):
        log.append_at(event("user", NOON_MS, f"c-{number}"), NOON_MS)
    await engine.claim(SOURCES)
    await _take(engine, log, NOON_MS + 2 * MAX_AGE_MS)
    assert await engine.seal(0.0) < 5


async def _bill_all_anew(engine: Engine, connection: asyncpg.Connection, algorithm: int = 1) -> None:
    """Ask for all conversations to be billed anew, and make a checkpoint that looks for such requests."""
    await connection.execute(
        "insert into billing.recompute_request (shard, conversation_key, algorithm)"
        " select shard, conversation_key, $1 from billing.conversation",
        algorithm,
    )
    engine._requests_looked_for = 0.0
    await engine.checkpoint()


class TestRecomputing:
    """Conversations that operators want billed anew."""

    async def test_what_differs_is_corrected_and_the_request_is_met(
        self, ledger: PostgresLedger, database: str
    ) -> None:
        log, engine = DatedLog(), Engine(ledger, SEALING)
        for minute in (0, 14, 28, 31):
            log.append_at(event("user", NOON_MS + minute * MINUTE_MS), NOON_MS + DAY_MS)
        log.append_at(event("user", NOON_MS, "c-2"), NOON_MS + DAY_MS)
        await engine.claim(SOURCES)
        await _take(engine, log, NOON_MS + DAY_MS)
        right = await records_of(database)
        connection = await asyncpg.connect(database)
        await connection.execute(
            "update billing.session_record set user_messages = 99, algorithm = 0 where block = 2"
        )
        await _bill_all_anew(engine, connection)
        after = {record["session_id"]: record for record in await records_of(database)}
        assert compare(list(after.values()), right).equal
        corrected = [record for record in after.values() if record["corrected_at"]]
        assert [(record["block"], record["algorithm"], record["status"]) for record in corrected] == [
            (2, 1, "final")
        ]
        assert await connection.fetchval("select count(*) from billing.recompute_request") == 0
        changes = await connection.fetch(
            "select block, user_messages from billing.session_record_changes order by position desc limit 1"
        )
        assert [tuple(change) for change in changes] == [(2, 1)]
        await connection.close()

    async def test_a_request_for_a_newer_algorithm_waits_for_who_has_it(
        self, ledger: PostgresLedger, database: str
    ) -> None:
        log, engine = DatedLog(), Engine(ledger, SEALING)
        log.append_at(event("user", NOON_MS), NOON_MS)
        await engine.claim(SOURCES)
        await _take(engine, log, NOON_MS + DAY_MS)
        connection = await asyncpg.connect(database)
        await _bill_all_anew(engine, connection, algorithm=2)
        assert await connection.fetchval("select count(*) from billing.recompute_request") == 1
        newer = await PostgresLedger.open(database, algorithm=2)
        engine = Engine(newer, SEALING)
        await engine.claim(SOURCES)
        await engine.checkpoint()
        assert await connection.fetchval("select count(*) from billing.recompute_request") == 0
        await newer.close()
        await connection.close()

    async def test_a_long_conversation_in_memory_is_billed_as_a_whole(
        self, ledger: PostgresLedger, database: str
    ) -> None:
        log, engine = DatedLog(), Engine(ledger, SEALING)
        await engine.claim(SOURCES)
        for minute in range(600):
            log.append_at(event("user", NOON_MS + minute * MINUTE_MS), NOON_MS + DAY_MS)
            if minute % 100 == 99:
                await read_all(engine, log)
                await engine.checkpoint()
        right = await records_of(database)
        connection = await asyncpg.connect(database)
        await connection.execute("update billing.session_record set user_messages = 99 where block = 1")
        await _bill_all_anew(engine, connection)
        await connection.close()
        comparison = compare(await records_of(database), right)
        assert comparison.equal, comparison.report("ledger", "before")

    async def test_of_a_sealed_conversation_only_what_is_kept_is_billed_anew(
        self, ledger: PostgresLedger, database: str
    ) -> None:
        engine, log = await _two_sessions(ledger)
        right = await records_of(database)
        connection = await asyncpg.connect(database)
        await _bill_all_anew(engine, connection)
        await connection.close()
        assert await records_of(database) == right
        await _take(engine, log, NOON_MS + 4 * MAX_AGE_MS)
        assert await engine.seal(LONG_SECONDS) == 1, "and then the rest, so that no facts are left"
        assert await records_of(database) == right
