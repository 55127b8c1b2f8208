"""`quarterhour reconcile`: does the ledger agree with itself, and with Kafka."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import click

from quarterhour.commands.records import time_option
from quarterhour.errors import AnswerIsNo, PartUnreachable
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.output import TABLE, emit, emit_object, emit_summary, format_option
from quarterhour.reconciling import Compared, Reconciliation, judge_partitions, judge_standings, summary_of
from quarterhour.settings import Settings, load_settings
from sinks.ledger import Refused, Unreachable
from sinks.migrate import MigrationError, pending
from sinks.reconciling import Counted, Difference, Filter, snapshot
from streams.positions import Standing, standings
from streams.sources import KafkaUnreachable, find_logs

SHOWN = ["topic", "partition", "from", "to", "read", "outcomes", "gaps", "published", "unread", "state"]


@click.command()
@click.option(
    "--deep", is_flag=True, help="Recompute the bills from the stored facts, and check the change feed."
)
@click.option("--from", "from_text", help="With --deep: records that start at this time or later.")
@click.option("--to", "to_text", help="With --deep: those that start before this time.")
@click.option("--account", help="With --deep: those of this account.")
@format_option
def command(
    deep: bool, from_text: str | None, to_text: str | None, account: str | None, output_format: str
) -> None:
    """Hold the ledger against itself and against Kafka.

    For each source partition: the offsets read (`from` where the ledger began, `to` where it stands) are the
    outcomes and the gaps. What is published and not read yet is `unread`, and no fault; what Kafka no longer
    holds and nobody has read is one.

    --deep recomputes the bill of every conversation from its facts and names every record that differs; it
    checks facts, dead letters and rule sets for changes, alerts against their reports, statuses against the
    clocks, and that the change feed has no gaps and tells what the facts yield, down to its last word on each
    record. Records whose facts are sealed (`sealed`) are held against the feed alone. With --from, --to or
    --account: of those records only. It reads as of one moment, in batches.

    Each difference is a line: the tables that may be at fault, the key and what is wrong. Status 1 if there
    is any. It needs the login that `quarterhour migrate` uses, and changes nothing.

    Example:

    \b
      quarterhour reconcile --deep --account acme --from 2026-10-01T00:00:00Z
    """
    only = Filter(account, time_option("--from", from_text), time_option("--to", to_text))
    if not (deep or only.is_open):
        raise click.UsageError("--from, --to and --account go with --deep")
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    try:
        found = asyncio.run(_reconcile(settings, only if deep else None, output_format))
    except (Unreachable, KafkaUnreachable) as error:
        raise PartUnreachable(str(error)) from error
    except MigrationError as error:
        raise AnswerIsNo(f"schema_migration: {error}") from error
    except Refused as error:
        raise AnswerIsNo(str(error)) from error
    if found:
        raise AnswerIsNo(f"{found} differences", code="differences")


async def _reconcile(settings: Settings, only: Filter | None, output_format: str) -> int:
    """Write all of it; return how many differences there are."""
    dsn, names = settings.require_postgres_dsn(), list(settings.topics.values())
    if missing := await pending(dsn):
        raise MigrationError(f"it lacks {missing[0].name}: run `quarterhour migrate`")
    compared, found = Compared(), 0
    async with snapshot(dsn) as ledger:
        counted, known = await ledger.partitions(), await ledger.topics()
        brokers = {"bootstrap_servers": settings.require_kafka_brokers(), **security_options(settings)}
        logs = await find_logs(brokers, names)
        offsets = {it.source: it.next_offset for it in counted if it.next_offset is not None}
        rows = standings(names, known, offsets, logs)
        _show_partitions(counted, rows, output_format)
        differences = [*judge_partitions(counted), *judge_standings(rows, known, counted, names)]
        compared.partitions = len(counted)
        for difference in differences:
            _show(difference, output_format)
        found += len(differences)
        if only is not None:
            run = Reconciliation(
                *(ledger, settings.topics, known, counted, settings.allowed_lateness_ms, only, compared)
            )
            found += await _show_all(run.differences(), output_format)
    _sum_up(summary_of(compared, found), output_format)
    return found


async def _show_all(differences: AsyncIterator[Difference], output_format: str) -> int:
    count = 0
    async for difference in differences:
        _show(difference, output_format)
        count += 1
    return count


def _show(difference: Difference, output_format: str) -> None:
    if output_format == TABLE:
        click.echo(f"DIFFERENCE {difference.table}: {difference.key}: {difference.what}")
    else:
        emit_object({"type": "difference", **difference._asdict()})


def _sum_up(summary: dict[str, int], output_format: str) -> None:
    if output_format == TABLE:
        emit_summary(output_format, summary)
    else:
        emit_object({"type": "summary", **summary})


def _show_partitions(counted: Sequence[Counted], rows: Sequence[Standing], output_format: str) -> None:
    by_source = {row.source: row for row in rows}
    shown = [_row(part, by_source.get(part.source)) for part in counted]
    shown += [_unread_row(row) for row in rows if row.ledger_offset is None]
    if output_format == TABLE:
        emit(TABLE, [*shown, _total(shown)], SHOWN)
    else:
        emit(output_format, [{"type": "partition", **row} for row in [*shown, _total(shown)]])


def _row(part: Counted, standing: Standing | None) -> dict[str, Any]:
    read = None
    if part.next_offset is not None and part.first_offset is not None:
        read = part.next_offset - part.first_offset
    return {
        **part.source._asdict(),
        **{"from": part.first_offset, "to": part.next_offset, "read": read},
        **{"outcomes": sum(part.outcomes.values()), **part.outcomes, "gaps": part.gap_count},
        "published": standing and standing.log and standing.log[1],
        "unread": standing and standing.lag,
        "state": standing.state.value if standing else "history",
    }


def _unread_row(standing: Standing) -> dict[str, Any]:
    return {
        **standing.source._asdict(),
        **{"from": None, "to": None, "read": 0, "outcomes": 0, "gaps": 0},
        "published": standing.log and standing.log[1],
        "unread": standing.lag,
        "state": standing.state.value,
    }


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    sums = ("read", "outcomes", "gaps", "unread")
    return {"topic": "in all", **{name: sum(row[name] or 0 for row in rows) for name in sums}}
