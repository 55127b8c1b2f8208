"""`quarterhour rules`: rule sets and when each is in force."""

import asyncio
from typing import Any

import click

from quarterhour.database import asking_ledger
from quarterhour.durations import format_duration, parse_duration_ms
from quarterhour.errors import WrongInput
from quarterhour.output import emit, format_option
from quarterhour.settings import load_settings
from schemas.decode import Rejected, parse_time_ms
from schemas.times import format_time_ms
from sessionizer.rules import DEFAULT_RULES, InvalidRules, RuleSet
from sinks.rule_sets import add_rule_set, list_rule_sets

SHOWN = ["account_id", "bot_id", "effective_from", "block", "idle_timeout", "handoff_timeout"]
LENGTHS = ("block", "idle_timeout", "handoff_timeout")
CLOCK_SKEW_MS = 5 * 60_000


@click.group()
def command() -> None:
    """List and add the rule sets that decide bills.

    A rule set has the length of a block, the idle timeout and the handoff timeout, for all bots or for one,
    from a time on. A conversation is billed by the one in force at its earliest event: a bot's own goes
    before one for all. Rule sets are never changed or removed, and never effective in the past.

    Example:

    \b
      quarterhour rules add --from 2027-01-01T00:00:00Z --idle-timeout 30min
    """


@command.command("list")
@format_option
def list_rules(output_format: str) -> None:
    """List all rule sets, by bot and time.

    Example:

    \b
      quarterhour rules list
    """
    rows = _answered(list_rule_sets(load_settings().require_postgres_dsn()))
    emit(output_format, map(_shown, sorted(rows, key=_place)), SHOWN)


@command.command()
@click.option("--from", "from_text", required=True, help="Effective from this time on: RFC 3339, to come.")
@click.option("--account", help="With --bot: for this bot only.")
@click.option("--bot", help="With --account: for this bot only.")
@click.option("--block", default="15min", show_default=True, help="Length of a block: one usage session.")
@click.option("--idle-timeout", default="15min", show_default=True, help="5 minutes to 14 days.")
@click.option("--handoff-timeout", default="24h", show_default=True, help="Of a handoff that never ends.")
def add(from_text: str, account: str | None, bot: str | None, **lengths: str) -> None:
    """Add a rule set, effective from a time to come.

    It must be far enough in the future that no event can be that old already: MAX_AHEAD and five minutes.
    A running worker ends at its next checkpoint with status 75 and goes by the new rules when it is started
    again. Adding the same rule set again changes nothing; another one from the same time on is refused
    (status 1). It needs the login that `quarterhour migrate` uses.

    Example:

    \b
      quarterhour rules add --from 2027-01-01T00:00:00Z --account acme --bot sales --idle-timeout 2h
    """
    settings = load_settings()
    rules = _rule_set(from_text, account, bot, lengths)
    row = {f"{name}_ms": getattr(rules, f"{name}_ms") for name in ("effective", *LENGTHS)}
    row |= {"account_id": account, "bot_id": bot}
    lead_ms = settings.max_ahead_ms + CLOCK_SKEW_MS
    added = _answered(add_rule_set(settings.require_postgres_dsn(), row, lead_ms))
    click.echo("added" if added else "this rule set is there already", err=True)


def _place(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["account_id"] or "", row["bot_id"] or "", row["effective_ms"]


def _rule_set(from_text: str, account: str | None, bot: str | None, lengths: dict[str, str]) -> RuleSet:
    try:
        given = {f"{name}_ms": _duration_ms(name, text) for name, text in lengths.items()}
        return RuleSet(parse_time_ms(from_text), account_id=account, bot_id=bot, **given)
    except Rejected:
        raise WrongInput(f"--from {from_text!r} is not a time such as 2027-01-01T00:00:00Z") from None
    except InvalidRules as error:
        raise WrongInput(str(error)) from error


def _duration_ms(name: str, text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise WrongInput(f"--{name.replace('_', '-')} {text!r}: {error}") from None


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A rule set for people and programs: the default one is effective since ever."""
    since_ever = row["effective_ms"] <= max(0, DEFAULT_RULES.effective_ms)
    return {
        "account_id": row["account_id"],
        "bot_id": row["bot_id"],
        "effective_from": None if since_ever else format_time_ms(row["effective_ms"]),
        **{name: format_duration(row[f"{name}_ms"]) for name in LENGTHS},
    }


def _answered(call: Any) -> Any:
    with asking_ledger():
        return asyncio.run(call)
