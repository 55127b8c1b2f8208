"""A run killed at any of its statements or commits, and six at once: the books are as after one run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from asyncpg.transaction import Transaction

from invoicing.errors import StoreUnreachable
from invoicing.paying import give_credit
from invoicing.run import Run
from invoicing.store import connecting
from invoicing.store.connecting import Store
from invoicing.voiding import void
from tests.conftest import NewDatabase
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import ms
from tests.invoicing.world import (
    DAY_MS,
    GRACE_MS,
    HOUR_MS,
    act,
    add_account,
    everything,
    free_plan,
    open_books,
    plan,
    run,
)

STARTS, ENDS, NEXT = ms("2026-01-15"), ms("2026-02-15"), ms("2026-03-15")
AS_OF = NEXT + GRACE_MS
PLANS = {"sales": "standard", "help": "advanced", "trial": "tried", "free": "free"}
BOTS = tuple(PLANS)
RUNS_AT_ONCE = 6
COMMIT = "_Transaction__commit"  # what `async with connection.transaction()` ends with

Point = tuple[str, int]
"""A statement by name, or a commit, and which of that name."""


class Killed(BaseException):
    """What a killed process would have done next, it does not do."""


@contextmanager
def killing(store: Store, at: Point | None, pytest_patch: pytest.MonkeyPatch) -> Iterator[list[Point]]:
    """End all connections and the run at a point; yields the points that it came by."""
    passed: list[Point] = []
    seen: Counter[str] = Counter()

    def come_by(name: str) -> None:
        seen[name] += 1
        passed.append((name, seen[name]))
        if passed[-1] == at:
            store._pool.terminate()
            raise Killed(name)

    statement, commit = connecting.statement, getattr(Transaction, COMMIT)

    def named(name: str) -> str:
        come_by(name)
        return statement(name)

    async def committed(transaction: Transaction) -> None:
        come_by("before commit")
        await commit(transaction)
        come_by("after commit")

    with pytest_patch.context() as patch:
        patch.setattr(connecting, "statement", named)
        patch.setattr(Transaction, COMMIT, committed)
        yield passed


async def make_books(dsn: str) -> None:
    """Two accounts with all that a run may meet, and nothing run since."""
    store, connection = await Store.open(dsn), await asyncpg.connect(dsn)
    stream = Stream(connection)
    tried = plan(id="tried", trial_days=7, after_trial="active")
    await open_books(store, plan(), plan(id="advanced", price="62.00"), tried, free_plan())
    for account_id in ("acme", "zeta"):
        await add_account(store, account_id, "Europe/Berlin")
        for bot_id, plan_id in PLANS.items():
            await act(store, STARTS, bot_id, account_id).subscribe(plan_id)
        await stream.write(
            Record(f"{account_id} {n}", STARTS + n * 5 * HOUR_MS, account_id, BOTS[n % 3]) for n in range(60)
        )
    await stream.reach(ENDS)
    await run(store, ENDS + GRACE_MS)
    await stream.write([Record("late", STARTS + 1), Record("acme 3", 0, status="void")])
    await give_credit(store, "acme", 100, "outage", "case 1", at_ms=ENDS, actor="ada")
    await act(store, ENDS + GRACE_MS, "help").change("standard")
    await act(store, ENDS + GRACE_MS, "sales", "zeta").cancel(now=True)
    await act(store, ENDS + GRACE_MS, "help", "zeta").cancel(now=False)
    await void(store, "QH-2026-000001", "address", at_ms=ENDS + GRACE_MS + HOUR_MS, actor="ada")
    await stream.reach(NEXT + DAY_MS)
    await connection.close()
    await store.close()


async def books_after(dsn: str, work: Callable[[Store], object]) -> dict[str, list[str]]:
    store, connection = await Store.open(dsn, size=3), await asyncpg.connect(dsn)
    try:
        await work(store)  # type: ignore[misc]
        return await everything(connection)
    finally:
        await connection.close()
        await store.close()


async def test_a_run_killed_anywhere_leaves_nothing_to_repair(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await new_database()
    await make_books(made)
    template = made.rpartition("/")[2]
    points: list[Point] = []

    async def watched(store: Store) -> None:
        with killing(store, None, monkeypatch) as passed:
            await run(store, AS_OF)
        points.extend(passed)

    one_run = await books_after(await new_database(template), watched)
    assert len(one_run["invoice"]) > 7
    assert {name for name, _ in points} > {
        "read_feed",
        "issue",
        "next_number",
        "before commit",
        "after commit",
    }
    print(f"\nkilled at {len(points)} points")
    for point in points:
        database = await new_database(template)

        async def killed(store: Store, point: Point = point) -> None:
            with killing(store, point, monkeypatch), pytest.raises((Killed, StoreUnreachable)):
                await Run(store, AS_OF, GRACE_MS).all()

        await books_after(database, killed)
        assert await books_after(database, lambda store: run(store, AS_OF)) == one_run, point


async def test_six_runs_at_once_are_as_one(new_database: NewDatabase) -> None:
    made = await new_database()
    await make_books(made)
    database = await new_database(made.rpartition("/")[2])
    issued: list[int] = []

    async def one(store: Store) -> None:
        issued.append((await run(store, AS_OF)).issued)

    async def six(_: Store) -> None:
        stores = [await Store.open(database) for _ in range(RUNS_AT_ONCE)]
        summaries = await asyncio.gather(*(run(store, AS_OF) for store in stores))
        issued.append(sum(summary.issued for summary in summaries))
        for store in stores:
            await store.close()

    assert await books_after(database, six) == await books_after(made, one)
    assert issued[0] == issued[1] > 3
