"""`quarterhour migrate`: bring the database schema to this version."""

import asyncio

import click

from quarterhour.database import asking_ledger, migrate_all, pending_of_all
from quarterhour.settings import load_settings


@click.command()
@click.option("--plan", is_flag=True, help="Only print the SQL that would run.")
def command(plan: bool) -> None:
    """Bring the database schema to this version.

    Migrations go forward only, each in a transaction; several processes may migrate at once.

    Example:

    \b
      quarterhour migrate --plan
    """
    dsn = load_settings().require_postgres_dsn()
    with asking_ledger():
        found = asyncio.run(pending_of_all(dsn) if plan else migrate_all(dsn))
    for migration in found:
        click.echo(f"-- {migration.name}\n{migration.sql}" if plan else f"applied {migration.name}")
    if not found:
        click.echo("the schema is up to date", err=True)
