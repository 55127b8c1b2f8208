"""`quarterhour reconcile`: a right ledger has no difference; each table corrupted in one row is named."""

import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from quarterhour.parts import Parts
from quarterhour.parts.topics import end_offsets
from tests.drills.load import one_round
from tests.quarterhour.corruptions import (
    CORRUPTIONS,
    LONG_AGO,
    SEED,
    Corruption,
    a_real_ledger,
    corrupted,
    differences,
    names,
    reconcile,
)
from tests.streams.stage import Stage, event, now_ms


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A real ledger that every test of this module copies."""
    async with a_real_ledger(parts, tmp_path_factory.mktemp("ledger")) as stage:
        yield stage


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    yield random.Random(request.node.name)


async def test_a_right_ledger_agrees_with_itself_and_with_kafka(filled: Stage) -> None:
    for arguments in ((), ("--deep",)):
        result = await reconcile(filled, filled.dsn, *arguments)
        assert result.exit_code == 0, result.output
    rows = rows_of(result)
    total = next(row for row in rows if row.get("topic") == "in all")
    assert total["read"] == total["outcomes"] + total["gaps"] > 4_000
    assert total["unread"] == 200, "published since, and no fault"
    (summary,) = (row for row in rows if row["type"] == "summary")
    counts = await filled.query(
        "select count(*) filter (where kind = 'alert') as alerts,"
        " count(*) filter (where kind = 'usage' and status <> 'void') as records from billing.session_record"
    )
    billed = summary["records"] + summary["sealed"]
    assert (summary["alerts"], billed) == (counts[0]["alerts"], counts[0]["records"])
    assert summary["sealed"] >= 2 * LONG_AGO, "records of sessions whose facts are gone"
    assert summary["superseded"] > 3 and summary["facts"] > 3_000


@pytest.mark.parametrize(
    "corruption", CORRUPTIONS, ids=lambda it: f"{it.table}-{' '.join(it.what.split())[:60]}"
)
async def test_a_row_that_was_corrupted_is_named(
    filled: Stage, dice: random.Random, corruption: Corruption
) -> None:
    async with corrupted(filled.dsn, corruption, dice):
        result = await reconcile(filled, filled.dsn, *(["--deep"] if corruption.deep else []))
    assert result.exit_code == 1, result.output
    assert any(names(found, corruption.table) for found in differences(result)), result.output


async def test_every_table_of_the_ledger_is_corrupted(filled: Stage) -> None:
    tables = await filled.query("select tablename from pg_tables where schemaname = 'billing'")
    assert {row["tablename"] for row in tables} == {corruption.table for corruption in CORRUPTIONS}


async def test_a_range_and_an_account_leave_out_what_is_not_in_them(filled: Stage, new_database: Any) -> None:
    dsn = await new_database(filled.dsn.rpartition("/")[2])
    record, other = await query(
        dsn,
        "select distinct on (account_id) session_id, account_id, started_at from billing.session_record"
        " where kind = 'usage' and status = 'final' order by account_id limit 2",
    )
    await query(dsn, "delete from billing.session_record where session_id = $1", record["session_id"])
    after = (record["started_at"].replace(microsecond=0)).isoformat()
    for arguments, status in (
        (("--account", record["account_id"]), 1),
        (("--account", other["account_id"]), 0),
        (("--from", after), 1),
        (("--to", after), 0),
        (("--account", record["account_id"], "--to", after), 0),
    ):
        result = await reconcile(filled, dsn, "--deep", *arguments)
        assert result.exit_code == status, (arguments, result.output)
    await query(dsn, "update billing.session_record set session_id = gen_random_uuid() where session_id = $1",
                other["session_id"])  # fmt: skip
    result = await reconcile(filled, dsn, "--deep", "--account", other["account_id"])
    found = {difference["what"] for difference in differences(result)}
    assert "is missing: its facts yield it" in found, result.output
    assert "is there, and its conversation does not have it" in found


async def test_what_kafka_no_longer_holds_unread_is_lost_and_what_was_read_is_not(stage: Stage) -> None:
    await stage.publish([event("user", now_ms(), "c-1") for _ in range(5)])
    await stage.drain()
    ((topic, partition, offset),) = await stage.query(
        "select topic, partition, next_offset from billing.source_partition where next_offset > 0"
    )
    await stage.forget_records({(topic, partition): offset})
    assert (await reconcile(stage, stage.dsn)).exit_code == 0
    await stage.publish([event("user", now_ms(), "c-1") for _ in range(5)])
    assert (await reconcile(stage, stage.dsn)).exit_code == 0
    await stage.forget_records({(topic, partition): offset + 3})
    result = await reconcile(stage, stage.dsn)
    assert result.exit_code == 1
    (found,) = differences(result)
    assert "3 offsets were lost before they were read" in found["what"]
    assert found["key"] == f"{topic} partition {partition}"


async def test_a_ledger_that_began_in_the_middle_of_a_log_is_right(stage: Stage) -> None:
    await stage.publish([event("user", now_ms(), "c-1") for _ in range(5)])
    ends = await end_offsets(stage.brokers, list(stage.topics.values()))
    (place,) = (place for place, end in ends.items() if end)
    await stage.forget_records({place: 3})
    await stage.drain()
    result = await reconcile(stage, stage.dsn, "--deep")
    assert result.exit_code == 0, result.output
    (row,) = (row for row in rows_of(result) if row.get("from"))
    assert (row["from"], row["to"], row["read"], row["fact"]) == (3, 5, 2, 2)


async def test_a_ledger_that_is_being_written_agrees_with_itself_at_every_moment(stage: Stage) -> None:
    lines = list(one_round(6_000, SEED + 2, now_ms()))
    worker = stage.start()
    for at in range(0, len(lines), 1_000):
        await stage.publish(lines[at : at + 1_000])
        result = await reconcile(stage, stage.dsn, "--deep")
        assert result.exit_code == 0, result.output
    worker.kill()
    assert (await reconcile(stage, stage.dsn, "--deep")).exit_code == 0
    stage.start()
    await stage.drained()
    result = await reconcile(stage, stage.dsn, "--deep")
    assert result.exit_code == 0, result.output
    assert next(row for row in rows_of(result) if row.get("topic") == "in all")["read"] == 6_000


async def test_filters_need_deep(stage: Stage) -> None:
    result = await reconcile(stage, stage.dsn, "--account", "acme")
    assert result.exit_code == 2


def rows_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


async def query(dsn: str, sql: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(sql, *arguments)
    finally:
        await connection.close()
