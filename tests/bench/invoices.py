"""`python -m tests.bench.invoices`: invoicing 10,000 accounts over a ledger of 10 million records.

A ledger of so many records over 40 days is written by SQL, in no order of time; each account has one bot on
a monthly plan with an allowance and two tiers. Measured are reading the change feed from its beginning, a run
that invoices the month of all of them with their PDFs, a run that finds nothing to do, and what it takes to
ask for an account's usage. Checked: every record of the month is on one invoice, once, and every invoice's
total is the sum of its lines.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from decimal import Decimal
from pathlib import Path

import asyncpg
import click

from invoicing import reading
from invoicing.store.connecting import Store
from invoicing.store.feed import read_feed
from quarterhour.database import migrate_all
from quarterhour.parts import Parts
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, measure_options, measuring, tell
from tests.invoicing.stream import Stream
from tests.invoicing.times import at, ms
from tests.invoicing.world import GRACE_MS, act, add_account, open_books, plan, run

ACCOUNTS = (1_000, 10_000)
RECORDS_AN_ACCOUNT = 1_000
STARTS, ENDS = ms("2026-01-15"), ms("2026-02-15")
FIRST_START = "2026-01-12"
LEDGER_DAYS = 40
ASKED = 2_000
BATCH = 500_000
FILL = f"""
with made as (
  select n, md5(n::text)::uuid as session_id, 'account-' || (n % $3)::text as account_id,
         case when n % 5 = 0 then 'alert' else 'usage' end as kind,
         timestamptz '{FIRST_START}' + ((n * 7919) % 34560000) / 10.0 * interval '1 second' as started_at
  from generate_series($1::bigint, $2::bigint) n
), recorded as (
  insert into billing.session_record
    (session_id, kind, account_id, bot_id, user_id, channel, subject_id, started_at, ended_at, bot_ms,
     agent_ms, status, revision, algorithm, shard)
  select session_id, kind, account_id, 'sales', 'user-' || n % 1000, 'web', 'conversation-' || n, started_at,
         started_at + interval '9 minutes', 540000, 0, 'final', 25, 1, 0
  from made
)
insert into billing.session_record_change
  (position, session_id, kind, account_id, bot_id, user_id, channel, subject_id, started_at, ended_at, bot_ms,
   agent_ms, status, revision, algorithm)
select n, session_id, kind, account_id, 'sales', 'user-' || n % 1000, 'web', 'conversation-' || n, started_at,
       started_at + interval '9 minutes', 540000, 0, 'final', 25, 1
from made
"""
CHECK = """
with invoiced as materialized (
  select r.session_id from invoicing.invoice_line l, unnest(l.records) r
), due as (
  select session_id from billing.session_record where started_at >= $1 and started_at < $2
)
select (select count(*) from invoiced) as invoiced, (select count(distinct session_id) from invoiced) as once,
       (select count(*) from due) as due,
       (select count(*) from due left join invoiced i using (session_id)
        where i.session_id is null) as missing,
       (select count(*) from invoicing.invoice i where total_minor <> (
          select sum(amount_minor) from invoicing.invoice_line l where l.invoice_id = i.invoice_id
        )) as wrong_totals,
       (select count(*) from invoicing.invoice where status = 'final') as issued
"""


async def invoicing(parts: Parts, sizes: Sequence[int], records_an_account: int) -> AsyncIterator[Result]:
    """Measure all of it for so many accounts, each time on a fresh database."""
    points = []
    for accounts in sizes:
        points.append(await _measured(parts, accounts, records_an_account))
        yield {"invoices": {"points": points}}


async def _measured(parts: Parts, accounts: int, records_an_account: int) -> dict[str, float]:
    name = f"bench_{uuid.uuid4().hex[:8]}"
    parts.postgres.create_database(name)
    dsn = parts.postgres.dsn(name)
    await migrate_all(dsn)
    store, connection = await Store.open(dsn), await asyncpg.connect(dsn)
    try:
        await _fill(connection, accounts, accounts * records_an_account)
        await _subscribe(store, accounts)
        return await _measure(store, connection, accounts, accounts * records_an_account)
    finally:
        await store.close()
        await connection.close()
        parts.postgres.query(f"drop database {name} with (force)", "postgres")


async def _fill(connection: asyncpg.Connection, accounts: int, records: int) -> None:
    for first in range(1, records + 1, BATCH):
        await connection.execute(FILL, first, min(first + BATCH - 1, records), accounts)
        tell(f"invoices: {min(first + BATCH - 1, records):,} records")
    await connection.execute("update billing.change_counter set last_position = $1", records)
    await Stream(connection).reach(ENDS + GRACE_MS)
    await connection.execute("vacuum analyze")


async def _subscribe(store: Store, accounts: int) -> None:
    tiers = [{"up_to": 100, "price": "0.20"}, {"price": "0.125"}]
    sold = plan(included={"usage": 400, "alert": 100}, tiers={"usage": tiers, "alert": tiers})
    await open_books(store, sold)
    for number in range(accounts):
        account_id = f"account-{number}"
        await add_account(store, account_id, "Europe/Berlin", tax_percent=Decimal("19"))
        await act(store, STARTS, "sales", account_id).subscribe("standard")
    tell(f"invoices: {accounts:,} subscriptions")


async def _measure(
    store: Store, connection: asyncpg.Connection, accounts: int, records: int
) -> dict[str, float]:
    fed, _ = await _timed(read_feed(store))
    tell(f"invoices: feed read at {records / fed:,.0f} records/s")
    invoiced, cpu = await _timed(run(store, ENDS + GRACE_MS))
    tell(f"invoices: {accounts / invoiced:,.1f} invoices/s")
    await _check(connection, accounts)
    idle, _ = await _timed(run(store, ENDS + GRACE_MS))
    await connection.execute("vacuum analyze")
    asked = sorted([await _ask(store, random.randrange(accounts)) for _ in range(ASKED)])
    return {
        "accounts": accounts,
        "records": records,
        "feed_records_per_second": round(records / fed),
        "run_seconds": round(invoiced, 1),
        "invoices_per_second": round(accounts / invoiced, 1),
        "run_cpu_seconds": round(cpu, 1),
        "idle_run_seconds": round(idle, 2),
        "usage_p50_ms": round(asked[ASKED // 2], 1),
        "usage_p99_ms": round(asked[ASKED * 99 // 100], 1),
    }


async def _timed(work: Awaitable[object]) -> tuple[float, float]:
    """Wall and CPU seconds of this process."""
    wall, cpu = time.monotonic(), time.process_time()
    await work
    return time.monotonic() - wall, time.process_time() - cpu


async def _ask(store: Store, number: int) -> float:
    """Milliseconds until an account's usage is known, in the period that runs."""
    started = time.monotonic()
    await reading.usage_of_account(store, f"account-{number}", ENDS + GRACE_MS)
    return (time.monotonic() - started) * 1000


async def _check(connection: asyncpg.Connection, accounts: int) -> None:
    found = dict(await connection.fetchrow(CHECK, at(STARTS), at(ENDS)))
    right = {"once": found["invoiced"], "due": found["invoiced"], "missing": 0, "wrong_totals": 0}
    if found != {"invoiced": found["invoiced"], "issued": accounts, **right}:
        raise BenchFailed(f"invoices are wrong: {found}")


@click.command()
@click.option("--accounts", type=int, multiple=True, default=ACCOUNTS, help="Each has a bot and an invoice.")
@click.option("--records", default=RECORDS_AN_ACCOUNT, show_default=True, help="Of each account.")
@measure_options
def main(accounts: tuple[int, ...], records: int, home: Path, results: Path) -> None:
    """Measure invoicing, on a real PostgreSQL."""
    measuring("invoices", home, results, lambda parts: invoicing(parts, accounts, records))


if __name__ == "__main__":
    main()
