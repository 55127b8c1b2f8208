"""`quarterhour recompute`: what this version of the rule's code changes of bills, and having it done."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from quarterhour.aggregator import actor_option
from quarterhour.commands.records import time_option
from quarterhour.database import asking_ledger
from quarterhour.errors import AnswerIsNo
from quarterhour.logs import set_up_logs
from quarterhour.output import TABLE, emit, emit_object, emit_summary, format_option
from quarterhour.recomputing import Change, Difference, Plan
from quarterhour.reconciling import ms_of
from quarterhour.settings import Settings, load_settings
from schemas.times import format_time_ms
from sessionizer.bill import ALGORITHM
from sinks.migrate import require_current
from sinks.recomputing import Recomputations, open_recomputations
from sinks.reconciling import Filter, snapshot

POLL_SECONDS = 0.2
PLAN, APPLY, STATUS = "plan", "apply", "status"
SHOWN_ACCOUNTS = ["account_id", *(change.value for change in Change)]
SHOWN_RECORDS = ["account_id", "bot_id", "conversation_id", "session_id", "change", "algorithm", "fields"]
SHOWN_AUDIT = ["number", "requested_at", "algorithm", "conversations", "actor", "why"]


@click.command()
@click.option("--plan", "act", flag_value=PLAN, help="Show which records would be others; change nothing.")
@click.option("--apply", "act", flag_value=APPLY, help="Have workers bill anew what would be other.")
@click.option("--status", "act", flag_value=STATUS, help="Show what still waits, and who asked for it.")
@click.option("--account", help="Records of this account only.")
@click.option("--from", "from_text", help="Those that start at this time or later.")
@click.option("--to", "to_text", help="Those that start before this time.")
@click.option("--records", "each", is_flag=True, help="With --plan: list each record, with what differs.")
@click.option("--reason", "why", help="With --apply: why, as the audit keeps it.")
@click.option("--wait", is_flag=True, help="With --apply: until workers have done it.")
@actor_option
@format_option
def command(
    act: str | None,
    account: str | None,
    from_text: str | None,
    to_text: str | None,
    each: bool,
    why: str | None,
    wait: bool,
    actor: str,
    output_format: str,
) -> None:
    """Show what this version of the rule changes of bills, and have it done.

    Every record names the version of the rule's code that computed it, its `algorithm`. A newer program bills
    by its own what events touch from then on; what none touches stays as it was billed. --plan bills every
    conversation anew from its stored facts, as of one moment, and counts by account the records that would be
    `changed`, `void`, `new` or, void until now, `back`. `older` are records of older algorithms that stay.
    With --account, --from or --to: of those records only. Facts that are sealed are not billed again.

    --apply has the conversations of these records billed anew by workers of this version: differences become
    corrections, and what was invoiced adjustments. It ends when that is asked for; with --wait, when it is
    done, or with status 1 if for QUARTERHOUR_PATIENCE no worker did any of it. A program older than any
    record refuses. It needs the login that `quarterhour migrate` uses.

    Example:

    \b
      quarterhour recompute --plan --account acme --from 2026-10-01T00:00:00Z --records
    """
    only = Filter(account, time_option("--from", from_text), time_option("--to", to_text))
    _check_usage(act, only, each=each, why=why, wait=wait)
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    with asking_ledger():
        if act == STATUS:
            asyncio.run(_show_status(settings, output_format))
        elif why is None:
            asyncio.run(_plan(settings, only, each, output_format))
        else:
            asyncio.run(_apply(settings, only, (actor, why), wait, output_format))


def _check_usage(act: str | None, only: Filter, *, each: bool, why: str | None, wait: bool) -> None:
    if act is None:
        raise click.UsageError("one of --plan, --apply and --status says what to do")
    if each and act != PLAN:
        raise click.UsageError("--records goes with --plan")
    if (act == APPLY) != bool(why):
        raise click.UsageError("--apply needs the --reason why, for the audit; nothing else takes one")
    if wait and act != APPLY:
        raise click.UsageError("--wait goes with --apply")
    if act == STATUS and not only.is_open:
        raise click.UsageError("--account, --from and --to go with --plan and --apply")


async def _plan(settings: Settings, only: Filter, each: bool, output_format: str) -> Plan:
    """Show what would be other."""
    dsn = settings.require_postgres_dsn()
    await require_current(dsn)
    records = []
    async with snapshot(dsn) as ledger:
        plan = Plan(ledger, only)
        async for difference in plan.differences():
            if each and output_format == TABLE:
                records.append(_record_row(difference))
            elif each:
                _emit("record", [_record_row(difference)], SHOWN_RECORDS, output_format)
    _emit("record", records, SHOWN_RECORDS, output_format)
    accounts = [_account_row(name, changes) for name, changes in sorted(plan.by_account.items())]
    _emit("account", accounts, SHOWN_ACCOUNTS, output_format)
    _sum_up(plan, output_format)
    return plan


async def _apply(settings: Settings, only: Filter, hand: tuple[str, str], wait: bool, form: str) -> None:
    """Ask for what would be other."""
    plan = await _plan(settings, only, False, form)
    if plan.differing:
        async with open_recomputations(settings.require_postgres_dsn()) as recomputations:
            await recomputations.request(plan.differing, ALGORITHM, *hand)
            click.echo(f"{len(plan.differing)} conversations are to be billed anew", err=True)
            if wait:
                await _wait(recomputations, settings.patience_ms / 1000)


async def _wait(recomputations: Recomputations, patience_seconds: float) -> None:
    """Wait until nothing is left that this version was asked for."""
    left, since = -1, time.monotonic()
    while waiting := sum(
        count for algorithm, count in (await recomputations.waiting()).items() if algorithm <= ALGORITHM
    ):
        if waiting != left:
            left, since = waiting, time.monotonic()
        elif time.monotonic() - since > patience_seconds:
            raise AnswerIsNo(
                f"{waiting} conversations still wait: does a worker of algorithm {ALGORITHM} run for each"
                " partition?",
                code="still_waiting",
            )
        await asyncio.sleep(POLL_SECONDS)
    click.echo("all of them were billed anew", err=True)


async def _show_status(settings: Settings, output_format: str) -> None:
    dsn = settings.require_postgres_dsn()
    await require_current(dsn)
    async with open_recomputations(dsn) as recomputations:
        waiting, audit = await recomputations.waiting(), await recomputations.audit()
    rows = [{**it._asdict(), "requested_at": _text(it.requested_at)} for it in audit]
    _emit("recomputation", rows, SHOWN_AUDIT, output_format)
    counts = [{"algorithm": algorithm, "conversations": count} for algorithm, count in waiting.items()]
    _emit("waiting", counts, ["algorithm", "conversations"], output_format)


def _sum_up(plan: Plan, output_format: str) -> None:
    figures = {
        "algorithm": ALGORITHM,
        **{"conversations": plan.conversations, "sealed": plan.sealed, "records": plan.records},
        **{change.value: plan.changes[change] for change in Change},
        "older": {str(algorithm): count for algorithm, count in sorted(plan.older.items())},
        "differing_conversations": len(plan.differing),
    }
    if output_format == TABLE:
        emit_summary(TABLE, figures)
    else:
        emit_object({"type": "summary", **figures})


def _emit(kind: str, rows: list[dict[str, Any]], shown: list[str], output_format: str) -> None:
    if output_format != TABLE:
        emit(output_format, [{"type": kind, **row} for row in rows])
    elif rows:
        emit(TABLE, [{**row, "fields": _fields_text(row.get("fields", {}))} for row in rows], shown)


def _account_row(account_id: str, changes: Mapping[Change, int]) -> dict[str, Any]:
    return {"account_id": account_id, **{change.value: changes.get(change, 0) for change in Change}}


def _record_row(difference: Difference) -> dict[str, Any]:
    account_id, bot_id, conversation_id = difference.names
    return {
        **{"account_id": account_id, "bot_id": bot_id, "conversation_id": conversation_id},
        "session_id": str(UUID(bytes=difference.session_id)),
        **{"change": difference.change.value, "algorithm": difference.algorithm},
        "fields": {name: [_text(it) for it in values] for name, values in difference.fields.items()},
    }


def _fields_text(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {before} -> {after}" for name, (before, after) in fields.items())


def _text(value: Any) -> Any:
    return format_time_ms(ms_of(value)) if isinstance(value, datetime) else value
