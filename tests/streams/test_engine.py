"""The engine on a real ledger, without Kafka: batches by hand, so that every interleaving can be had."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quarterhour.comparing import compare
from quarterhour.lines import decode_line
from quarterhour.traffic import traffic
from schemas.topics import Topic, key_of, partition_of
from sessionizer import reference
from sessionizer.rules import RuleBook
from sinks.ledger import Fenced, SourcePartition, Unreachable
from sinks.postgres import PostgresLedger
from sinks.views import read_session_records
from streams.batches import Batch
from streams.conversations import CorruptFacts
from streams.cursor import BrokenChain
from streams.dead_letter_limit import TooManyDeadLetters
from streams.engine import Engine, OutOfPatience, Plan, UnfitAssignment
from streams.reading import Contract
from tests.simulation.kafka import LogRecord
from tests.streams.stage import event

MINUTE_MS = 60_000
NOON_MS = 1_790_000_000_000
PARTITIONS = 2
SOURCES = {SourcePartition(str(topic), number): 0 for topic in Topic for number in range(PARTITIONS)}
PLAN = Plan(
    topics={str(topic): topic for topic in Topic},
    partitions={str(topic): PARTITIONS for topic in Topic},
    rules=RuleBook(),
    contract=Contract(max_ahead_ms=5 * MINUTE_MS, max_age_ms=400 * 86_400_000),
    allowed_lateness_ms=10 * MINUTE_MS,
    patience_ms=300,
    dead_letter_limit_share=1.0,
    dead_letter_limit_run=1_000,
)


class Log:
    """The source topics in memory: append lines, read batches from any offset."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._records: dict[SourcePartition, list[LogRecord]] = {source: [] for source in SOURCES}

    def append(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            decoded, time_ms, topic = decode_line(line)
            key = key_of(decoded)
            records = self._records[SourcePartition(str(topic), partition_of(key, PARTITIONS))]
            records.append(LogRecord(len(records), time_ms, key, line))
            self.lines.append(line)

    def read(self, source: SourcePartition, start: int, claim: int, most: int = 1_000) -> Batch | None:
        records = self._records[source][start : start + most]
        return Batch(source, start, start + len(records), records, claim) if records else None

    def expected(self) -> list[dict[str, Any]]:
        return reference.sessionize([decode_line(line)[0] for line in self.lines])


@pytest_asyncio.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    opened = await PostgresLedger.open(database, algorithm=1)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def held(ledger: PostgresLedger) -> "HeldLedger":
    return HeldLedger(ledger)


async def read_all(engine: Engine, log: Log, most: int = 1_000) -> None:
    """Process all that the log holds after the engine's cursors."""
    claim = engine.current
    assert claim is not None
    for source, cursor in claim.cursors.items():
        while engine.current is claim and (batch := log.read(source, cursor.next_offset, claim.number, most)):
            await engine.process(batch)


async def records_of(dsn: str) -> list[Any]:
    return [record async for record in read_session_records(dsn)]


async def test_what_is_read_after_a_takeover_is_what_was_not_saved(
    ledger: PostgresLedger, database: str
) -> None:
    log, first, second = Log(), Engine(ledger, PLAN), Engine(ledger, PLAN)
    log.append(traffic(2_000, 1, NOON_MS))
    await first.claim(SOURCES)
    await read_all(first, log)
    await first.checkpoint()
    log.append(traffic(2_000, 2, NOON_MS))
    await read_all(first, log)  # and never saved
    await second.claim(SOURCES)
    await read_all(second, log)
    await second.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    with pytest.raises(Fenced):
        await first.checkpoint()
    assert first.current is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_any_batches_checkpoints_crashes_and_takeovers_give_the_same_bill(
    new_database, seed: int
) -> None:
    dice = random.Random(seed)
    dsn = await new_database()
    ledger = await PostgresLedger.open(dsn, algorithm=1)
    log, waiting = Log(), list(traffic(600, seed, NOON_MS, hostile=dice.random() < 0.5))
    engine = Engine(ledger, PLAN)
    await engine.claim(SOURCES)
    while waiting or dice.random() < 0.8:
        act = dice.choice(("publish", "read", "read", "save", "crash"))
        if act == "publish":
            log.append(waiting[:100])
            del waiting[:100]
        elif act == "read":
            await read_some(engine, log, dice)
        elif act == "save":
            await engine.checkpoint()
        else:
            engine = Engine(ledger, PLAN)
            await engine.claim(SOURCES)
    await read_all(engine, log)
    await engine.checkpoint()
    comparison = compare(await records_of(dsn), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    counted = sum((await ledger.outcome_counts()).values())
    assert counted == len(log.lines), "every record has one outcome, counted once"
    await ledger.close()


async def read_some(engine: Engine, log: Log, dice: random.Random) -> None:
    claim = engine.current
    assert claim is not None
    source = dice.choice(list(claim.cursors))
    if batch := log.read(source, claim.cursors[source].next_offset, claim.number, dice.randint(1, 60)):
        await engine.process(batch)


async def test_reading_goes_on_while_a_checkpoint_is_being_saved(
    ledger: PostgresLedger, database: str
) -> None:
    log, engine = Log(), Engine(ledger, PLAN)
    log.append(traffic(3_000, 3, NOON_MS))
    await engine.claim(SOURCES)
    reading = asyncio.create_task(read_all(engine, log, most=50))
    while not reading.done():
        await engine.checkpoint()
    await reading
    await engine.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")


async def test_a_batch_that_does_not_follow_the_one_before_breaks_the_chain(ledger: PostgresLedger) -> None:
    log, engine = Log(), Engine(ledger, PLAN)
    source = SourcePartition(Topic.CONVERSATION, 0)
    number, _ = await engine.claim(SOURCES)
    with pytest.raises(BrokenChain, match="conversation partition 0: read 5, expected 0"):
        await engine.process(Batch(source, 5, 6, [], number))
    with pytest.raises(BrokenChain):
        await engine.process(Batch(source, -1, 6, [], number))
    assert log.lines == []


async def test_a_batch_of_an_earlier_claim_is_dropped(ledger: PostgresLedger) -> None:
    log, engine = Log(), Engine(ledger, PLAN)
    log.append([event("user", NOON_MS)])
    stale, _ = await engine.claim(SOURCES)
    await engine.claim(SOURCES)
    for source in SOURCES:
        if batch := log.read(source, 0, stale):
            await engine.process(batch)
    assert engine.stale_batches == 1
    assert all(cursor.next_offset == 0 for cursor in engine.current.cursors.values())


async def test_a_claim_given_up_during_a_look_up_is_saved_whole_or_not_at_all(
    held: "HeldLedger", database: str
) -> None:
    log, engine = Log(), Engine(held, PLAN)
    log.append(traffic(200, 1, NOON_MS))
    await engine.claim(SOURCES)
    await read_all(engine, log)
    held.hold = asyncio.Event()
    saving = asyncio.create_task(engine.checkpoint())
    await held.looking_up.wait()
    with pytest.raises(TimeoutError):
        await engine.hand_over(0.01)
    assert engine.current is None
    held.hold.set()
    await saving
    await engine.claim(SOURCES)
    await read_all(engine, log)
    await engine.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")


async def test_what_is_read_during_a_look_up_is_for_the_next_checkpoint(
    held: "HeldLedger", database: str
) -> None:
    """The first checkpoint lets its conversation go, of which more has been read meanwhile."""
    log, engine = Log(), Engine(held, PLAN)
    names = _names_of_partition(0, 2)
    log.append([event("user", NOON_MS, names[0])])
    await engine.claim(SOURCES)
    await read_all(engine, log)
    for source in SOURCES:  # time passes: what was read has settled
        engine.current.cursors[source].clock_ms = NOON_MS + 60 * MINUTE_MS
    held.hold = asyncio.Event()
    saving = asyncio.create_task(engine.checkpoint())
    await held.looking_up.wait()
    expected_first = log.expected()
    log.append([event("user", NOON_MS + MINUTE_MS, names[0]), event("user", NOON_MS, names[1])])
    await read_all(engine, log)
    held.hold.set()
    await saving
    assert len(engine.current.conversations[0]) == 0, "the first conversation was let go"
    comparison = compare(await records_of(database), expected_first)
    assert comparison.equal, comparison.report("ledger", "reference of what was read before")
    await engine.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")


async def test_a_conversation_touched_while_it_settles_stays_in_memory(
    held: "HeldLedger", database: str
) -> None:
    log, engine = Log(), Engine(held, PLAN)
    (name,) = _names_of_partition(0, 1)
    log.append([event("user", NOON_MS, name)])
    await engine.claim(SOURCES)
    await read_all(engine, log)
    for source in SOURCES:
        engine.current.cursors[source].clock_ms = NOON_MS + 60 * MINUTE_MS
    held.hold_saves = asyncio.Event()
    saving = asyncio.create_task(engine.checkpoint())
    await held.saving.wait()
    log.append([event("user", NOON_MS + MINUTE_MS, name)])
    await read_all(engine, log)
    held.hold_saves.set()
    await saving
    log.append([event("user", NOON_MS + 2 * MINUTE_MS, name)])
    await read_all(engine, log)
    await engine.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")


@pytest.mark.parametrize("state_bytes", [PLAN.max_state_bytes, 1], ids=["settled", "idle"])
async def test_what_a_later_checkpoint_took_stays_in_memory_until_that_is_saved(
    held: "HeldLedger", database: str, state_bytes: int
) -> None:
    """Once the first is saved the conversation would go, but the ledger lacks what the second took."""
    log, engine = Log(), Engine(held, replace(PLAN, max_state_bytes=state_bytes))
    (name,) = _names_of_partition(0, 1)
    await engine.claim(SOURCES)
    if state_bytes > 1:
        for source in SOURCES:  # what will be read has settled
            engine.current.cursors[source].clock_ms = NOON_MS + 60 * MINUTE_MS
    alert = event("delivered", NOON_MS, delivery_id="d-1")
    checkpoints = []
    held.hold_saves = asyncio.Event()
    for minute in range(3):
        log.append([event("user", NOON_MS + minute * MINUTE_MS, name), alert])
        await read_all(engine, log)
        checkpoints.append(asyncio.create_task(engine.checkpoint()))
        if minute == 0:
            await held.saving.wait()
        elif minute == 1:
            await asyncio.sleep(0)  # it is taken, and waits for the first
            held.hold_before_save = asyncio.Event()
            held.hold_saves.set()
            await checkpoints[0]
            assert len(engine.current.conversations[0]) == 1
    await asyncio.sleep(0)
    held.hold_before_save.set()
    await asyncio.gather(*checkpoints)
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")
    assert len(engine.current.conversations[0]) == 0


async def test_a_conversation_with_a_chunk_lost_is_not_billed_from_the_rest(
    ledger: PostgresLedger, database: str
) -> None:
    log, engine, (name,) = Log(), Engine(ledger, PLAN), _names_of_partition(0, 1)
    for minute in range(2):
        log.append([event("user", NOON_MS + minute * MINUTE_MS, name)])
        await engine.claim(SOURCES)
        await read_all(engine, log)
        await engine.checkpoint()
    connection = await asyncpg.connect(database)
    await connection.execute("delete from billing.fact_chunk where revision = 1")
    await connection.close()
    log.append([event("user", NOON_MS + 2 * MINUTE_MS, name)])
    await engine.claim(SOURCES)
    await read_all(engine, log)
    with pytest.raises(CorruptFacts, match=rf"acme\|sales\|{name}: the ledger says 2 facts and holds 1"):
        await engine.checkpoint()


async def test_a_worker_that_gets_half_a_shard_refuses(ledger: PostgresLedger) -> None:
    engine = Engine(ledger, PLAN)
    with pytest.raises(UnfitAssignment, match=r"differ in \[1\]"):
        half = SourcePartition(Topic.AGENT_HANDOFF, 1)
        await engine.claim({source: 0 for source in SOURCES if source != half})


async def test_out_of_patience_forgets_the_claim(held: "HeldLedger") -> None:
    log, engine = Log(), Engine(held, PLAN)
    log.append([event("user", NOON_MS)])
    await engine.claim(SOURCES)
    await read_all(engine, log)
    held.unreachable = True
    with pytest.raises(OutOfPatience):
        await engine.checkpoint()
    assert engine.current is None
    assert engine.waiting_for


async def test_a_checkpoint_that_is_cancelled_forgets_what_it_took(held: "HeldLedger", database: str) -> None:
    log, engine = Log(), Engine(held, PLAN)
    log.append(traffic(500, 4, NOON_MS))
    await engine.claim(SOURCES)
    await read_all(engine, log)
    held.unreachable = True
    with pytest.raises(TimeoutError):
        await engine.hand_over(0.05)
    held.unreachable = False
    await engine.claim(SOURCES)
    await read_all(engine, log)
    await engine.checkpoint()
    comparison = compare(await records_of(database), log.expected())
    assert comparison.equal, comparison.report("ledger", "reference")


async def test_reading_waits_while_too_much_is_unsaved(ledger: PostgresLedger) -> None:
    log, engine = Log(), Engine(ledger, replace(PLAN, max_unsaved_records=100))
    log.append(traffic(1_000, 5, NOON_MS))
    await engine.claim(SOURCES)
    reading = asyncio.create_task(read_all(engine, log, most=50))
    while not reading.done():
        await asyncio.wait([reading], timeout=0.01)
        assert engine.current.unsaved_records <= 150
        await engine.checkpoint()
    await engine.checkpoint()
    assert sum((await ledger.outcome_counts()).values()) == 1_000


async def test_a_worker_is_behind_while_much_is_left_and_it_has_room(ledger: PostgresLedger) -> None:
    log, engine, first = Log(), Engine(ledger, replace(PLAN, max_unsaved_records=1_000)), next(iter(SOURCES))
    assert not engine.is_behind({first: 1_000}), "nothing is claimed"
    log.append(traffic(499, 5, NOON_MS))
    await engine.claim(SOURCES)
    await read_all(engine, log)
    here = {source: cursor.next_offset for source, cursor in engine.current.cursors.items()}
    assert engine.current.unsaved_records == 499
    assert not engine.is_behind(here | {first: here[first] + 200, SourcePartition("another", 0): 1_000})
    assert engine.is_behind(here | {first: here[first] + 201})
    log.append(traffic(1, 6, NOON_MS))
    await read_all(engine, log)
    ends = {source: end + 1_000 for source, end in here.items()}
    assert not engine.is_behind(ends), "half is unsaved"
    await engine.checkpoint()
    assert engine.is_behind(ends)


async def test_reading_waits_while_too_many_bytes_of_dead_letters_are_unsaved(ledger: PostgresLedger) -> None:
    engine = Engine(ledger, replace(PLAN, max_unsaved_dead_bytes=1_000))
    number, _ = await engine.claim(SOURCES)
    source = SourcePartition(Topic.CONVERSATION, 0)
    bad = [Batch(source, n, n + 1, [LogRecord(n, NOON_MS, None, b"x" * 1_000)], number) for n in range(2)]
    await engine.process(bad[0])
    waiting = asyncio.create_task(engine.process(bad[1]))
    await asyncio.sleep(0)
    assert engine.current.cursors[source].next_offset == 1, "the second batch waits for room"
    await engine.checkpoint()
    await waiting
    assert engine.current.cursors[source].next_offset == 2


async def test_the_share_of_dead_letters_has_a_limit(ledger: PostgresLedger) -> None:
    engine = Engine(ledger, replace(PLAN, dead_letter_limit_share=0.1, dead_letter_limit_run=5))
    number, _ = await engine.claim(SOURCES)
    source = SourcePartition(Topic.CONVERSATION, 0)
    good = event("user", NOON_MS, _names_of_partition(0, 1)[0])
    key = b"acme|sales|" + _names_of_partition(0, 1)[0].encode()
    values = [b"bad" if n % 9 == 0 else good for n in range(10_000)]
    records = [LogRecord(n, NOON_MS, key, value) for n, value in enumerate(values)]
    with pytest.raises(TooManyDeadLetters, match="1112 of 10000 records are dead letters"):
        await engine.process(Batch(source, 0, 10_000, records, number))
    assert engine.current.cursors[source].next_offset == 0, "nothing of that batch was taken"


async def test_the_watermark_is_the_smaller_clock_and_never_runs_backwards(ledger: PostgresLedger) -> None:
    log, engine = Log(), Engine(ledger, PLAN)
    await engine.claim(SOURCES)
    name = _names_of_partition(0, 1)[0]
    log.append([event("user", NOON_MS, name)])
    await read_all(engine, log)
    assert engine.watermarks_ms()[0] == 0, "nothing is known of the handoffs yet"
    log.append([event("started", NOON_MS - MINUTE_MS, name)])
    await read_all(engine, log)
    assert engine.watermarks_ms()[0] == NOON_MS - MINUTE_MS
    log.append([event("started", NOON_MS - 5 * MINUTE_MS, name, handoff_id="h-2")])
    await read_all(engine, log)
    assert engine.watermarks_ms()[0] == NOON_MS - MINUTE_MS
    await engine.checkpoint()
    again = Engine(ledger, PLAN)
    await again.claim(SOURCES)
    assert again.watermarks_ms()[0] == NOON_MS - MINUTE_MS, "it is stored with the offsets"


class HeldLedger:
    """A real ledger behind a bad network: look-ups can be held up, and saves cut off."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self._ledger = ledger
        self.hold: asyncio.Event | None = None
        self.looking_up = asyncio.Event()
        self.saving = asyncio.Event()
        self.hold_before_save: asyncio.Event | None = None
        self.hold_saves: asyncio.Event | None = None
        self.unreachable = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def look_up_conversations(self, keys: Sequence[bytes]):
        found = await self._ledger.look_up_conversations(keys)
        self.looking_up.set()
        if self.hold:
            await self.hold.wait()
        return found

    async def save(self, checkpoint):
        if self.unreachable:
            raise Unreachable("cut off")
        if self.hold_before_save:
            await self.hold_before_save.wait()
        saved = await self._ledger.save(checkpoint)
        self.saving.set()
        if self.hold_saves:
            await self.hold_saves.wait()
        return saved


def _partition(name: str) -> int:
    return partition_of(f"acme|sales|{name}".encode(), PARTITIONS)


def _names_of_partition(partition: int, how_many: int) -> list[str]:
    names = (name for name in (f"c-{n}" for n in count()) if _partition(name) == partition)
    return list(islice(names, how_many))


class _Confirmation:
    """Says what is to be said, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.errors: list[Exception] = []

    async def __call__(self) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_what_is_not_confirmed_is_neither_claimed_nor_saved(ledger: PostgresLedger) -> None:
    log, confirmation = Log(), _Confirmation()
    engine = Engine(ledger, PLAN, confirm=confirmation)
    confirmation.errors = [KeyError("refused")]
    with pytest.raises(KeyError):
        await engine.claim(SOURCES)
    assert await ledger.positions([str(topic) for topic in Topic]) == {}
    await engine.claim(SOURCES)
    before = await ledger.positions([str(topic) for topic in Topic])
    log.append([event("user", NOON_MS)])
    await read_all(engine, log)
    confirmation.errors = [KeyError("refused")]
    with pytest.raises(KeyError):
        await engine.checkpoint()
    assert engine.current is None
    assert await ledger.positions([str(topic) for topic in Topic]) == before


async def test_a_confirmation_out_of_reach_is_asked_for_again(ledger: PostgresLedger, database: str) -> None:
    log, confirmation = Log(), _Confirmation()
    engine = Engine(ledger, PLAN, confirm=confirmation)
    await engine.claim(SOURCES)
    log.append([event("user", NOON_MS)])
    await read_all(engine, log)
    confirmation.errors = [Unreachable("away")]
    await engine.checkpoint()
    assert confirmation.asked == 3
    assert len(await records_of(database)) == 1
