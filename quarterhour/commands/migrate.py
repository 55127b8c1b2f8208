"""`quarterhour migrate`: bring the database schema to this version."""

import asyncio

import click

from quarterhour.database import migrate_all, pending_of_all
from quarterhour.errors import AnswerIsNo, PartUnreachable
from quarterhour.settings import load_settings
from sinks.ledger import Refused, Unreachable


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
    try:
        found = asyncio.run(pending_of_all(dsn) if plan else migrate_all(dsn))
    except Unreachable as error:
        raise PartUnreachable(str(error)) from error
    except Refused as error:
        raise AnswerIsNo(str(error)) from error
    for migration in found:
        click.echo(f"-- {migration.name}\n{migration.sql}" if plan else f"applied {migration.name}")
    if not found:
        click.echo("the schema is up to date", err=True)
