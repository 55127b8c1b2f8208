"""Hostile input in short; `python -m tests.fuzz` is the long run."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random

import asyncpg
import pytest

from schemas.decode import MAX_VALUE_BYTES
from schemas.outcomes import Outcome
from schemas.reasons import Reason
from schemas.topics import Topic
from sessionizer.facts import FactSet
from sessionizer.rules import RuleBook
from sinks.ledger import DeadLetterRow, SourcePartition
from sinks.postgres import PostgresLedger
from sinks.views import read_session_records
from streams.batches import Batch
from streams.conversations import conversation_key
from streams.engine import Engine, Plan
from streams.reading import Reader, Reading
from tests.fuzz import Result, report, run
from tests.fuzz.checking import check
from tests.fuzz.corpus import corpus
from tests.fuzz.expecting import CONTRACT, FuzzRecord, expect
from tests.fuzz.inputs import Input
from tests.fuzz.mutations import mutate
from tests.fuzz.session import MOST_RSS_BYTES, load_inputs, save_inputs
from tests.schemas.examples import changed, with_raw
from tests.sinks.inspecting import PostgresInspect
from tests.streams.readings import facts_of

PLAN = Plan(
    topics={str(topic): topic for topic in Topic},
    partitions={str(topic): 1 for topic in Topic},
    rules=RuleBook(),
    contract=CONTRACT,
    allowed_lateness_ms=600_000,
    patience_ms=1_000,
    dead_letter_limit_share=1.0,
    dead_letter_limit_run=1_000_000,
)


def inputs_of(seed: int, count: int) -> list[Input]:
    dice, seeds = Random(seed), corpus()
    return [mutate(dice, dice.choice(seeds), dice.choice(seeds)) for _ in range(count)]


@pytest.fixture(scope="module")
def short_run() -> Result:
    return run(20_000, seed=0)


def test_every_input_gives_an_event_or_a_dead_letter_with_its_reason(short_run: Result) -> None:
    assert short_run.broken == ""
    assert short_run.inputs == 20_000 == sum(short_run.outcomes.values())


def test_every_reason_is_given(short_run: Result) -> None:
    assert short_run.never_given == []
    assert set(short_run.outcomes) == {
        *(Outcome.FACT, Outcome.DEAD_LETTER, Outcome.UNBILLED, Outcome.TEST_TRAFFIC),
    }
    assert short_run.passed, "\n".join(report(short_run))


def test_a_seed_makes_the_same_inputs_again_and_a_file_holds_them(tmp_path: Path) -> None:
    inputs = inputs_of(1, 500)
    save_inputs(tmp_path / "inputs", inputs)
    assert load_inputs(tmp_path / "inputs") == inputs == inputs_of(1, 500)


def test_the_memory_of_the_process_that_started_it_does_not_count() -> None:
    held = b"x" * MOST_RSS_BYTES
    result = run(100, seed=0)
    del held
    assert result.broken == ""
    assert 0 < result.peak_rss_bytes < MOST_RSS_BYTES


def _of_a_megabyte(head: str, piece: str, tail: str) -> bytes:
    return (head + piece * ((MAX_VALUE_BYTES - 500) // len(piece)) + tail).encode()


LARGE = {
    "brackets": b"[" * MAX_VALUE_BYTES,
    "objects": b'{"":' * (MAX_VALUE_BYTES // 4),
    "arrays within the depth, one after another": with_raw(
        _of_a_megabyte("[", "[" * 90 + "]" * 90 + ",", "1]")
    ),
    "keys, all different": with_raw("{" + ",".join(f'"{number:x}":0' for number in range(108_000)) + "}"),
    "keys, all the same": with_raw(_of_a_megabyte("{", '"k":0,', '"k":0}')),
    "members of an event that is refused": changed(id=7)[:-1] + _of_a_megabyte("", ',"k":0', "}"),
    "ids, the last one counts": changed()[:-1] + _of_a_megabyte("", ',"id":"x"', "}"),
    "ids of a wrong type": changed()[:-1] + _of_a_megabyte("", ',"id":[]', "}"),
    "an id": changed(id="x" * (MAX_VALUE_BYTES - 500)),
    "a type": changed(type="\U0001f600" * 87_000),
    "a time": changed(time="2026-10-03T09:00:00." + "9" * (MAX_VALUE_BYTES - 500) + "Z"),
    "lone surrogates": with_raw(_of_a_megabyte('"', r"\ud800", '"')),
    "backslashes": with_raw(_of_a_megabyte('"', r"\\", '"')),
    "backslashes of a broken text": with_raw(_of_a_megabyte('"', r"\\", r"\"")),
    "a number": with_raw(_of_a_megabyte("", "9", "")),
    "a fraction": with_raw(_of_a_megabyte("0.", "9", "")),
    "long numbers": with_raw(_of_a_megabyte("[", "9" * 4300 + ",", "1]")),
    "exponents": with_raw(_of_a_megabyte("1e", "9", "")),
    "blanks": b" " * (MAX_VALUE_BYTES - 500) + changed(),
    "words for infinity": with_raw(_of_a_megabyte('"', "NaN Infinity ", '"')),
    "continuation bytes": b"\x80" * MAX_VALUE_BYTES,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_megabyte_takes_no_more_than_its_share_of_time(value: bytes) -> None:
    """Some 25 ns a byte; what grows with the square would take minutes."""
    assert 1_000_000 <= len(value) <= MAX_VALUE_BYTES
    check([Input(Topic.CONVERSATION, value)])  # refuses what takes longer than MOST_CPU_MS


async def test_no_input_keeps_a_checkpoint_from_being_saved(database: str) -> None:
    records, readings = _records_and_readings(inputs_of(2, 2_000))
    ledger = await PostgresLedger.open(database, algorithm=1)
    await _save(ledger, records)
    connection = await asyncpg.connect(database)
    inspect = PostgresInspect(connection)
    letters = [letter for reading in readings.values() for letter in reading.dead_letters]
    assert await inspect.dead_letters() == sorted(letters, key=_place)
    assert len({letter.reason for letter in letters}) >= len(Reason) - 3
    counted = await inspect.outcome_counts()
    assert sum(counted.values()) == 2_000
    assert {key: count for key, count in counted.items() if key.outcome not in _MERGED} == {
        key: count for reading in readings.values() for key, count in reading.outcomes.items()
    }
    expected = _facts(readings)
    stored = await ledger.look_up_conversations(list(expected))
    assert {key: FactSet.load(found.facts, found.strings) for key, found in stored.items()} == expected
    published = [record async for record in read_session_records(database)]
    assert len(published) == len(await inspect.records()) > 10
    await connection.close()
    await ledger.close()


_MERGED = (Outcome.FACT, Outcome.REPEAT, Outcome.CONFLICT)


def _place(letter: DeadLetterRow) -> tuple[SourcePartition, int]:
    return letter.source, letter.offset


def _records_and_readings(
    inputs: Iterable[Input],
) -> tuple[dict[Topic, list[FuzzRecord]], dict[Topic, Reading]]:
    """The records of inputs on topics of one partition, and what a reader makes of them."""
    records: dict[Topic, list[FuzzRecord]] = defaultdict(list)
    for given in inputs:
        record, _ = expect(given._replace(partitions=1), len(records[given.topic]))
        records[given.topic].append(record)
    return records, {
        topic: Reader(SourcePartition(topic, 0), topic, 1, CONTRACT, ()).read(_batch(topic, read, 1))
        for topic, read in records.items()
    }


def _batch(topic: Topic, records: list[FuzzRecord], claim: int) -> Batch:
    return Batch(SourcePartition(topic, 0), 0, len(records), records, claim)


async def _save(ledger: PostgresLedger, records: dict[Topic, list[FuzzRecord]]) -> None:
    engine = Engine(ledger, PLAN)
    number, _ = await engine.claim({SourcePartition(topic, 0): 0 for topic in Topic})
    for topic, read in records.items():
        await engine.process(_batch(topic, read, number))
    await engine.checkpoint()


def _facts(readings: dict[Topic, Reading]) -> dict[bytes, FactSet]:
    """The facts of every conversation, by the key that it is stored under."""
    facts: dict[bytes, FactSet] = defaultdict(FactSet)
    for topic in (Topic.CONVERSATION, Topic.AGENT_HANDOFF):
        for key, read in facts_of(readings[topic].facts).items():
            for fact in read:
                facts[conversation_key(key)].add(*fact)
    return facts
