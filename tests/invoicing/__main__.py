"""`python -m tests.invoicing --accounts 500`: a year of random accounts, by the store and the reference."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import asyncpg
import click

from invoicing.store.connecting import Store
from quarterhour.database import migrate_all
from quarterhour.parts import Parts
from tests.invoicing.playing import differences, issued, look_at, play
from tests.invoicing.scenarios import scenario
from tests.invoicing.stream import Stream
from tests.invoicing.world import GRACE_MS


@click.command()
@click.option("--accounts", default=500, show_default=True, help="How many accounts.")
@click.option("--first", default=0, show_default=True, help="The first one's seed.")
@click.option("--home", default=".quarterhour-invoicing", type=Path, help="Folder of the parts.")
def main(accounts: int, first: int, home: Path) -> None:
    """Invoice random accounts over 12 periods and more, and count what differs from the reference."""
    parts = Parts(home)
    parts.up()
    sys.exit(asyncio.run(_compare(parts, range(first, first + accounts))))


async def _compare(parts: Parts, seeds: range) -> int:
    started, found = time.monotonic(), Counter[str]()
    parts.postgres.create_database("template_of_accounts")
    await migrate_all(parts.postgres.dsn("template_of_accounts"))
    for seed in seeds:
        try:
            found.update(await _one(parts, seed))
        except Exception as error:
            raise RuntimeError(f"seed {seed}") from error
    parts.postgres.query("drop database template_of_accounts", "postgres")
    seconds = time.monotonic() - started
    counts = ", ".join(f"{number:,} {name}" for name, number in found.items())
    click.echo(f"{len(seeds):,} accounts in {seconds:.0f} s: {counts}")
    return int(found["differences"] > 0)


async def _one(parts: Parts, seed: int) -> dict[str, int]:
    parts.postgres.query("create database accounts template template_of_accounts", "postgres")
    store = await Store.open(parts.postgres.dsn("accounts"))
    connection = await asyncpg.connect(parts.postgres.dsn("accounts"))
    try:
        made_up = scenario(seed)
        expected, times = look_at(made_up, GRACE_MS)
        await play(made_up, store, Stream(connection), GRACE_MS, times)
        invoices = await issued(connection)
    finally:
        await store.close()
        await connection.close()
        parts.postgres.query("drop database accounts with (force)", "postgres")
    wrong = differences(expected, invoices)
    for difference in [*wrong[:2], *wrong[-2:]]:
        click.echo(f"seed {seed}: {difference}")
    lines = [line for invoice in invoices for line in invoice["lines"]]
    return {
        "records": len(made_up["changes"]),
        "acts": len(made_up["acts"]),
        "invoices": len(invoices),
        "lines": len(lines),
        "adjustments": sum(line[0] == "adjustment" for line in lines),
        "differences": len(wrong),
    }


if __name__ == "__main__":
    main()
