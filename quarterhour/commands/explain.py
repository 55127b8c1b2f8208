"""`quarterhour explain`: why this record, for whoever must answer "why was I charged?"."""

import asyncio
from typing import BinaryIO
from uuid import UUID

import click

from quarterhour.database import NEEDS_SCHEMA, asking_ledger
from quarterhour.errors import AnswerIsNo, WrongInput
from quarterhour.explained_text import lines_of
from quarterhour.explaining import as_object, explain
from quarterhour.lines import read_lines
from quarterhour.output import TABLE, emit_object, format_option
from quarterhour.settings import load_settings
from sinks.histories import read_history
from streams.conversations import conversation_key


@click.command()
@click.argument("session_id")
@click.option(
    "--events",
    "file",
    type=click.File("rb"),
    help="Events, one a line (- is standard input), to be told which of them are in the bill.",
)
@format_option
def command(session_id: str, file: BinaryIO | None, output_format: str) -> None:
    """Explain one session record: what it is made of, and why.

    Shows every fact of its conversation with what came of it, the time with human agents, the bot clock, the
    sessions and blocks with their limits and what lies silent between them, the rules in force, and every
    change that consumers were told of, with the facts that caused a correction. Of an alert: its reports.
    Facts that are sealed are gone: of such a session it shows what consumers were told.

    An event is found by its source, id and content: it is in the bill, a repeat, a losing copy, never billed,
    of a time that is sealed, or it never arrived. Times are UTC; in JSON, *_ms are milliseconds. Status 1 if
    there is no such record. It needs the login that `quarterhour migrate` uses, and reads only.

    Example:

    \b
      quarterhour explain 5f0c7c0e-6f4c-5b57-9d6f-0c2b7a3f7c11 --events sent.ndjson
    """
    settings = load_settings()
    with asking_ledger(NEEDS_SCHEMA):
        history = asyncio.run(
            read_history(settings.require_postgres_dsn(), _uuid(session_id), conversation_key)
        )
    if history is None:
        raise AnswerIsNo(f"no session record {session_id} was ever made", code="unknown_session")
    explanation = explain(history, read_lines(file) if file else None)
    if output_format == TABLE:
        for line in lines_of(explanation, settings.allowed_lateness_ms):
            click.echo(line)
    else:
        emit_object(as_object(explanation))


def _uuid(session_id: str) -> UUID:
    try:
        return UUID(session_id)
    except ValueError:
        raise WrongInput(f"{session_id!r} is not the id of a session: a UUID") from None
