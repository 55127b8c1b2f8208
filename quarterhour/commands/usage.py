"""`quarterhour usage`: what an account's bots have used, what is left, and where that leads."""

from collections.abc import Iterator
from typing import Any

import click

from invoicing import reading
from invoicing.model import SessionKind
from invoicing.reading import AccountUsage, BotUsage, DayUsage
from quarterhour.aggregator import now_ms, time_text, with_amounts, with_store
from quarterhour.commands.subscriptions import standing_row
from quarterhour.output import TABLE, emit, format_option

SHOWN = [
    *("bot_id", "plan", "state", "from", "to", "renews_at"),
    *("kind", "used", "open", "allowance", "left", "beyond", "forecast", "owed"),
]
OF_KIND = ("used", "open", "allowance", "left", "beyond", "forecast")
SHOWN_BY_DAY = ["bot_id", "day", "usage", "alert"]


@click.command()
@click.option("--account", required=True, help="The account_id of who pays.")
@click.option("--by-day", is_flag=True, help="Sessions of each day in the account's time zone instead.")
@format_option
def command(account: str, by_day: bool, output_format: str) -> None:
    """Show what an account's bots have used of their current period.

    In sessions: used (billed so far), open (not final yet), the allowance and what is left of it, sessions
    beyond it, and a forecast of used ones to the period's end. `owed` is what the bot's period costs so far,
    net of tax. Counted is what the last `quarterhour invoices run` has read. Times are UTC, days are local.

    Example:

    \b
      quarterhour usage --account acme --by-day
    """
    if by_day:
        days = with_store(lambda store: reading.usage_by_day(store, account, now_ms()))
        emit(output_format, [_day_row(day) for day in days], SHOWN_BY_DAY)
        return
    found = with_store(lambda store: reading.usage_of_account(store, account, now_ms()))
    if output_format == TABLE:
        emit(TABLE, [row for bot in found.bots for row in _table_rows(_row(found, bot))], SHOWN)
    else:
        emit(output_format, [_row(found, bot) for bot in found.bots])
    if found.feed.has_unread:
        click.echo(
            f"read up to change {found.feed.position}; `quarterhour invoices run` reads the newer ones",
            err=True,
        )


def _row(found: AccountUsage, bot: BotUsage) -> dict[str, Any]:
    return {
        "bot_id": bot.bot_id,
        "bot_name": bot.bot_name,
        **standing_row(bot.standing),
        **{one.kind: {name: getattr(one, name) for name in OF_KIND} for one in bot.usage},
        "owed_minor": bot.owed_minor,
        "currency": found.account.currency,
        "at": time_text(found.at_ms),
        "feed_position": found.feed.position,
        "feed_has_unread": found.feed.has_unread,
    }


def _table_rows(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each kind of sessions; what belongs to the bot stands in the first one."""
    shown = with_amounts(row)
    for kind in SessionKind:
        yield {**shown, "kind": kind, **row[kind]}
        shown = {"bot_id": row["bot_id"]}


def _day_row(day: DayUsage) -> dict[str, Any]:
    return {
        "bot_id": day.bot_id,
        "day": day.day.isoformat(),
        "from": time_text(day.during.from_ms),
        "to": time_text(day.during.to_ms),
        **{kind: day.used.get(kind, 0) for kind in SessionKind},
    }
