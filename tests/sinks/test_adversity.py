"""What can go wrong between a worker and PostgreSQL, for real: a frozen worker, a lost answer or server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from time import monotonic
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from sinks import connecting, postgres
from sinks.connecting import Role, connect, reaching
from sinks.ledger import OutcomeKey, Unreachable
from sinks.postgres import PostgresLedger
from tests.drills.link import linked
from tests.sinks.builders import MESSAGES, Worker, start_worker, usage
from tests.sinks.conftest import ALGORITHM
from tests.sinks.inspecting import PostgresInspect
from tests.sinks.relay import relay

DEADLINE_SECONDS = 20
ANSWERED = (b"Q", b"H", b"S")
"""The messages that the server answers: query, flush, sync."""


@pytest.fixture
async def relayed(database):
    """A relay to the test's database, and a ledger that works through it."""
    async with relay(database) as found:
        opened = await PostgresLedger.open(found.dsn, algorithm=ALGORITHM)
        yield found, opened
        await opened.close()


@pytest.fixture
async def frozen_worker(database):
    """A connection with a worker's rights and shorter limits, to be frozen in the middle of something."""
    async with relay(database) as found:
        connection = await connect(found.dsn, Role.WORKER)
        await connection.execute(
            "set idle_in_transaction_session_timeout = 300; set transaction_timeout = 900"
        )
        yield found, connection
        connection.terminate()


async def test_a_worker_frozen_between_statements_holds_up_nobody(ledger, frozen_worker):
    _, connection = frozen_worker
    await start_worker(ledger)
    await connection.execute("begin")
    await connection.execute("select * from billing.source_partition for update")
    async with asyncio.timeout(DEADLINE_SECONDS):
        await start_worker(ledger)


async def test_no_statement_is_parsed_while_a_checkpoint_holds_locks(relayed):
    """Frozen between a parse and its run, a worker would not be idle in its transaction to the server."""
    found, ledger = relayed
    worker = await start_worker(ledger)
    said: list[bytes] = []
    found.freeze_before = lambda message: bool(said.append(message))
    await ledger.save(worker.full_checkpoint())
    kinds = b"".join(message[:1] for message in said)
    before_fence, _, after_copies = kinds.rpartition(b"c")
    assert before_fence.count(b"c") == 2, "three COPYs come first, and then the fence"
    assert after_copies.count(b"B") > 5
    assert b"P" not in after_copies


@pytest.mark.parametrize("message", [b"B", b"E", b"S"], ids=["bind", "execute", "sync"])
async def test_a_worker_frozen_in_the_middle_of_a_statement_holds_up_nobody(ledger, frozen_worker, message):
    found, connection = frozen_worker
    await start_worker(ledger)
    await connection.execute("begin")
    await connection.execute("select * from billing.source_partition for update")
    found.freeze_before = _is(message)
    statement = asyncio.create_task(connection.fetch("select $1::int", 1))
    await found.frozen.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await start_worker(ledger)
    with pytest.raises(Unreachable), reaching("PostgreSQL"):
        await statement


async def test_a_worker_frozen_in_the_middle_of_a_copy_holds_up_nobody(ledger, relayed):
    found, frozen = relayed
    worker = await start_worker(frozen)
    found.freeze_before = _is(b"c")
    saving = asyncio.create_task(frozen.save(worker.full_checkpoint()))
    await found.frozen.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await start_worker(ledger)
    await frozen.close()
    with pytest.raises(Unreachable):
        await saving


async def test_a_commit_whose_answer_was_lost_is_recognised(relayed, inspect):
    found, ledger = relayed
    worker = await start_worker(ledger)
    checkpoint = worker.full_checkpoint()
    found.cut_after = _is(b"Q", b"COMMIT")
    with pytest.raises(Unreachable):
        await ledger.save(checkpoint)
    assert found.cut.is_set()
    found.cut_after = _never
    before = await inspect.everything()
    assert len(before["session_record"]) == 2
    assert not await ledger.save(checkpoint)
    assert await inspect.everything() == before


async def test_a_claim_whose_answer_was_lost_is_made_again(relayed, inspect):
    found, ledger = relayed
    found.cut_after = _is(b"Q", b"COMMIT")
    with pytest.raises(Unreachable):
        await start_worker(ledger, MESSAGES)
    found.cut_after = _never
    worker = await start_worker(ledger, MESSAGES)
    await ledger.save(worker.checkpoint(3))
    assert (await inspect.positions())[MESSAGES].next_offset == 3


async def test_wherever_the_connection_is_cut_all_is_saved_or_nothing_and_once(relayed, inspect):
    found, ledger = relayed
    worker = await start_worker(ledger)
    for at in range(1, 100):
        found.cut.clear()
        checkpoint = worker.full_checkpoint(at)
        before = await inspect.everything()
        found.cut_after = _nth(at, lambda message: message[:1] in ANSWERED)
        with suppress(Unreachable):
            await ledger.save(checkpoint)
        found.cut_after = _never
        assert await inspect.everything() == before or await _count_facts(inspect) == at
        await ledger.save(checkpoint)
        assert await _count_facts(inspect) == at
        if not found.cut.is_set():
            break
    assert at > 12, "a checkpoint has at least so many statements"


async def test_a_server_that_stops_in_mid_save_is_unreachable_and_keeps_nothing_of_it(
    database, breakable_parts
):
    ledger = await PostgresLedger.open(database, algorithm=ALGORITHM)
    checkpoint = (await start_worker(ledger)).full_checkpoint()
    async with _holding(database, "select * from billing.change_counter for update"):
        saving = asyncio.create_task(ledger.save(checkpoint))
        await _until_somebody_waits(database)
        await asyncio.to_thread(breakable_parts.postgres.stop, "immediate")
    with pytest.raises(Unreachable):
        await saving
    with pytest.raises(Unreachable):
        await ledger.save(checkpoint)
    await asyncio.to_thread(breakable_parts.postgres.start)
    assert await ledger.outcome_counts() == {}
    assert await ledger.save(checkpoint)
    assert await ledger.outcome_counts() == checkpoint.outcomes
    await ledger.close()


async def test_a_server_that_is_not_there_is_unreachable(closed_port):
    with pytest.raises(Unreachable):
        await PostgresLedger.open(f"postgresql://u:p@127.0.0.1:{closed_port}/d", algorithm=ALGORITHM)


async def test_a_server_without_a_place_for_us_is_unreachable(database, new_login):
    login = await new_login(database, "in role quarterhour_worker connection limit 1")
    occupied = await connect(login, Role.WORKER)
    with pytest.raises(Unreachable, match="TooManyConnections"):
        await PostgresLedger.open(login, algorithm=ALGORITHM)
    await occupied.close()


@pytest.mark.parametrize("state", ["53100", "53200", "53300", "58030", "58P01", "XX000"])
async def test_a_server_that_lacks_disk_memory_or_files_is_unreachable(database, state):
    connection = await connect(database, Role.WORKER)
    with pytest.raises(Unreachable), reaching("PostgreSQL"):
        await connection.execute(f"do $$ begin raise exception using errcode = '{state}'; end $$")
    await connection.close()


@pytest.mark.parametrize("state", ["XX001", "XX002", "23505", "22021"])
async def test_a_server_whose_data_is_broken_or_refuses_ours_is_reachable(database, state):
    connection = await connect(database, Role.WORKER)
    with pytest.raises(asyncpg.PostgresError), reaching("PostgreSQL"):
        await connection.execute(f"do $$ begin raise exception using errcode = '{state}'; end $$")
    await connection.close()


@pytest.mark.parametrize("message", [b"", b"RESET ALL"], ids=["first message", "cleaning up"])
async def test_a_server_that_never_answers_is_unreachable_when_the_time_of_a_call_is_over(
    database, monkeypatch, message
):
    monkeypatch.setattr(postgres, "CALL_TIMEOUT_SECONDS", 0.5)
    async with relay(database) as found:
        ledger = await PostgresLedger.open(found.dsn, algorithm=ALGORITHM)
        worker = await start_worker(ledger)
        found.freeze_before = lambda sent: message in sent
        started = monotonic()
        with pytest.raises(Unreachable):
            await ledger.save(worker.full_checkpoint())
        assert 0.5 <= monotonic() - started < 1.0
        await ledger.close()


async def test_one_call_finds_out_that_all_connections_are_half_open(database, monkeypatch):
    monkeypatch.setattr(postgres, "CALL_TIMEOUT_SECONDS", 0.5)
    server = urlsplit(database)
    async with linked(server.hostname, server.port) as link:
        login = server.netloc.rpartition("@")[0]
        dsn = urlunsplit(server._replace(netloc=f"{login}@127.0.0.1:{link.port}", query="sslmode=disable"))
        ledger = await PostgresLedger.open(dsn, algorithm=ALGORITHM)
        await asyncio.gather(*(ledger.outcome_counts() for _ in range(4)))
        link.abandon()
        with pytest.raises(Unreachable):
            await ledger.outcome_counts()
        assert await asyncio.gather(*(ledger.outcome_counts() for _ in range(4))) == [{}] * 4
        await ledger.close()


async def test_a_lock_that_is_not_given_in_time_is_unreachable(database, monkeypatch):
    monkeypatch.setitem(connecting.WORKER_LIMITS_MS, "lock_timeout", "200")
    ledger = await PostgresLedger.open(database, algorithm=ALGORITHM)
    checkpoint = (await start_worker(ledger)).full_checkpoint()
    async with _holding(database, "select * from billing.source_partition for update"):
        with pytest.raises(Unreachable, match="LockNotAvailable"):
            await ledger.save(checkpoint)
    assert await ledger.save(checkpoint)
    await ledger.close()


async def test_a_checkpoint_that_loses_a_deadlock_is_saved_all_the_same(database, inspect):
    await inspect.connection.execute(f'alter database "{_name(database)}" set deadlock_timeout = 100')
    ledger = await PostgresLedger.open(database, algorithm=ALGORITHM)
    worker = await start_worker(ledger)
    await ledger.save(worker.full_checkpoint(1))
    # The rival waits longer before it looks for a deadlock: so the checkpoint finds it and gives way.
    async with _holding(database, "select * from billing.change_counter for update") as rival:
        saving = asyncio.create_task(ledger.save(worker.full_checkpoint(2)))
        await _until_somebody_waits(database)
        await rival.execute("set deadlock_timeout = 60000")
        await rival.execute("select * from billing.source_partition for update")
    await saving
    assert await _count_facts(inspect) == 2
    await ledger.close()


async def test_a_row_that_cannot_be_written_is_an_error_and_not_an_unreachable_server(ledger, inspect):
    worker = await start_worker(ledger)
    before = await inspect.everything()
    for wrong in (usage(status="closed"), usage(user_id="\ud800"), usage(user_id="\0"), usage(block=2**31)):
        with pytest.raises((asyncpg.PostgresError, ValueError, OverflowError)):
            await ledger.save(Worker(worker.owner, worker.positions).checkpoint(records=[wrong]))
    assert await inspect.everything() == before


async def _count_facts(inspect: PostgresInspect) -> int:
    return (await inspect.outcome_counts()).get(OutcomeKey(MESSAGES, "fact", ""), 0)


def _is(kind: bytes, text: bytes = b"") -> Callable[[bytes], bool]:
    """Whether a message of the client is of this type and has this text in it."""
    return lambda message: message[:1] == kind and text in message


def _never(message: bytes) -> bool:
    return False


def _nth(number: int, matches: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Whether a message is the nth of those."""
    numbers = count(1)
    return lambda message: matches(message) and next(numbers) == number


def _name(dsn: str) -> str:
    return urlsplit(dsn).path.removeprefix("/")


@asynccontextmanager
async def _holding(dsn: str, sql: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that holds locks, until it is rolled back at the end."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("begin")
    await connection.execute(sql)
    try:
        yield connection
    finally:
        connection.terminate()


async def _until_somebody_waits(dsn: str) -> None:
    """Until a session of this database waits for a lock."""
    connection = await asyncpg.connect(dsn)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await connection.fetchval(
            "select count(*) from pg_stat_activity"
            " where datname = current_database() and wait_event_type = 'Lock'"
        ):
            pass
    await connection.close()
