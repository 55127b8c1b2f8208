"""`quarterhour records`: session records from the contract view."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from quarterhour.database import NEEDS_SCHEMA, asking_ledger
from quarterhour.errors import WrongInput
from quarterhour.output import TABLE, emit, emit_object, format_option
from quarterhour.settings import load_settings
from schemas.decode import Rejected, parse_time_ms
from schemas.records import SessionRecord
from sinks.views import read_session_records

SHOWN = [
    *("account_id", "bot_id", "kind", "subject", "block", "started_at", "ended_at"),
    *("bot_ms", "agent_ms", "user_messages", "bot_messages", "status", "session_id"),
]


@click.command()
@click.option("--account", help="Records of this account only.")
@click.option("--from", "from_text", help="Those that start at this time or later: RFC 3339 with an offset.")
@click.option("--to", "to_text", help="Those that start before this time.")
@click.option("--status", type=click.Choice(["open", "final", "void"]), help="Those of this status only.")
@format_option
def command(
    account: str | None, from_text: str | None, to_text: str | None, status: str | None, output_format: str
) -> None:
    """List session records from the contract view.

    Sorted by account, bot, kind, conversation or delivery, and start. Times are UTC; *_ms are milliseconds.

    Example:

    \b
      quarterhour records --account acme --from 2026-10-01T00:00:00Z --status final
    """
    filters = {
        "account_id": account,
        "from_time": time_option("--from", from_text),
        "to_time": time_option("--to", to_text),
        "status": status,
    }
    with asking_ledger(NEEDS_SCHEMA):
        asyncio.run(_list(load_settings().require_postgres_dsn(), filters, output_format))


async def _list(dsn: str, filters: Mapping[str, Any], output_format: str) -> None:
    records = read_session_records(dsn, **filters)
    if output_format == TABLE:
        emit(output_format, [_row(record) async for record in records], SHOWN)
    else:
        async for record in records:
            emit_object(record)


def _row(record: SessionRecord) -> dict[str, object]:
    subject = record["conversation_id"] if record["kind"] == "usage" else record["delivery_id"]
    return {**dict.fromkeys(SHOWN), **record, "subject": subject}


def time_option(option: str, text: str | None) -> datetime | None:
    """A time given as an option; raises WrongInput."""
    if text is None:
        return None
    try:
        parse_time_ms(text)
        return datetime.fromisoformat(text)
    except (Rejected, ValueError):
        raise WrongInput(f"{option} {text!r} is not a time such as 2026-10-03T09:00:00Z") from None
