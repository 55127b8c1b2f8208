"""Reading session records as a consumer: the published form, in the published order, filtered."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from schemas.records import FIELDS, sort_key
from sinks.ledger import Refused, Unreachable
from sinks.views import read_session_records
from tests.sinks.builders import MINUTE_MS, NOON_MS, alert, id_of, start_worker, usage
from tests.sinks.conftest import ALGORITHM


async def _save(ledger, *rows):
    await ledger.save((await start_worker(ledger)).checkpoint(records=rows))


async def _read(dsn, **filters):
    return [record async for record in read_session_records(dsn, **filters)]


def _at(time_ms):
    return datetime.fromtimestamp(time_ms // 1_000, UTC)


async def test_a_usage_record_has_the_published_fields_in_their_order(ledger, database):
    await _save(
        ledger, usage(1, session_started_ms=NOON_MS + 1, started_ms=NOON_MS + 20, ended_ms=NOON_MS + 300)
    )
    [record] = await _read(database)
    assert list(record) == [field.name for field in FIELDS if "usage" in field.kinds]
    assert record == {
        "session_id": str(UUID(bytes=id_of(1))),
        "kind": "usage",
        "account_id": "acme",
        "bot_id": "sales",
        "user_id": "u-1",
        "channel": "web",
        "conversation_id": "c-1",
        "session_started_at": "2026-09-30T12:00:00.001Z",
        "block": 1,
        "started_at": "2026-09-30T12:00:00.020Z",
        "ended_at": "2026-09-30T12:00:00.300Z",
        "bot_ms": 5 * MINUTE_MS,
        "agent_ms": MINUTE_MS,
        "user_messages": 3,
        "bot_messages": 2,
        "status": "open",
        "revision": 5,
        "corrected_at": None,
        "algorithm": ALGORITHM,
    }


async def test_an_alert_record_has_its_delivery_and_no_fields_of_usage(ledger, database):
    await _save(ledger, alert(1))
    [record] = await _read(database)
    assert list(record) == [field.name for field in FIELDS if "alert" in field.kinds]
    assert record["delivery_id"] == "d-1"
    assert record["started_at"] == record["ended_at"] == "2026-09-30T12:00:00.000Z"


async def test_a_correction_has_its_time(ledger, database):
    await _save(ledger, usage(1, status="final", late=True))
    [record] = await _read(database)
    corrected_at = datetime.fromisoformat(record["corrected_at"])
    assert abs(datetime.now(UTC) - corrected_at).total_seconds() < 60
    assert record["corrected_at"].endswith("Z")


async def test_records_come_in_the_order_of_code_points(ledger, database):
    names = ["a", "Z", "é", "a-1", "a_1", "\N{GRINNING FACE}", "\uffff"]
    rows = [
        usage(
            number,
            account_id=names[number % 7],
            bot_id=names[number // 7 % 7],
            subject_id=names[number // 49],
        )
        for number in range(98)
    ]
    rows += [alert(100 + number, account_id=name) for number, name in enumerate(names)]
    await _save(ledger, *rows)
    records = await _read(database)
    assert len(records) == len(rows)
    assert records == sorted(records, key=sort_key)


async def test_records_are_filtered_by_account_status_and_a_half_open_time(ledger, database):
    await _save(
        ledger,
        usage(1, started_ms=NOON_MS - 1),
        usage(2, started_ms=NOON_MS, status="final"),
        usage(3, started_ms=NOON_MS + MINUTE_MS - 1),
        usage(4, started_ms=NOON_MS + MINUTE_MS, account_id="other"),
    )

    async def numbers(**filters):
        return sorted(UUID(record["session_id"]).int for record in await _read(database, **filters))

    assert await numbers() == [1, 2, 3, 4]
    assert await numbers(account_id="other") == [4]
    assert await numbers(status="final") == [2]
    assert await numbers(from_time=_at(NOON_MS)) == [2, 3, 4]
    assert await numbers(to_time=_at(NOON_MS)) == [1]
    assert await numbers(from_time=_at(NOON_MS), to_time=_at(NOON_MS + MINUTE_MS)) == [2, 3]
    assert await numbers(from_time=_at(NOON_MS), status="open", account_id="acme") == [3]


async def test_more_records_than_are_fetched_at_once_are_all_read(ledger, database):
    await _save(ledger, *(usage(number) for number in range(5_001)))
    assert len({record["session_id"] for record in await _read(database)}) == 5_001


async def test_a_reader_needs_no_more_than_its_role(ledger, database, new_login):
    await _save(ledger, usage())
    assert len(await _read(await new_login(database, "in role quarterhour_reader"))) == 1
    with pytest.raises(Refused, match="permission denied"):
        await _read(await new_login(database))


async def test_a_database_without_the_schema_is_refused(migrated_template, empty_database):
    with pytest.raises(Refused, match="does not exist"):
        await _read(empty_database)


async def test_a_server_that_goes_while_records_are_read_is_unreachable(ledger, database):
    await _save(ledger, *(usage(number) for number in range(10_001)))
    reading = read_session_records(database)
    await anext(reading)
    connection = await asyncpg.connect(database)
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'quarterhour-reader'"
        " and datname = current_database()"
    )
    await connection.close()
    with pytest.raises(Unreachable):
        [record async for record in reading]
