"""`quarterhour demo`: the main job on generated traffic, checked against the reference model."""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from quarterhour.aggregator import with_store
from quarterhour.comparing import Comparison, compare
from quarterhour.database import migrate_all
from quarterhour.errors import AnswerIsNo, QuarterhourError
from quarterhour.invoice_demo import Invoiced, invoice_traffic
from quarterhour.lines import decode_line
from quarterhour.output import TABLE, emit_summary, format_option
from quarterhour.parts import Parts
from quarterhour.parts.topics import create_topics, topics_to_create
from quarterhour.publishing import publish
from quarterhour.settings import Settings, load_settings
from quarterhour.traffic import traffic
from schemas.decode import Rejected, check_clock
from schemas.outcomes import Outcome
from sessionizer import reference
from sessionizer.bill import ALGORITHM
from sinks.postgres import PostgresLedger
from sinks.views import read_session_records

POLL_SECONDS = 0.2
# The traffic is of yesterday: handoffs that never end have run out, so every record is final, and a period
# that ended within it is over for longer than the grace period of an invoice.
TRAFFIC_ENDED_MS = 26 * 3_600_000
PERIOD_ENDED_MS = 27 * 3_600_000
TRY_NEXT = """
Three commands to try next:
  {prefix}quarterhour records --account acme --status final --format table
  {prefix}quarterhour invoices show {number} --format table
  {prefix}quarterhour usage --account acme --format table"""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the reference model says of the published events."""

    records: list[dict[str, Any]]
    outcomes: Counter[str]
    dead_letters: Counter[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What the ledger holds of them."""

    records: list[Any]
    outcomes: Counter[str]
    dead_letters: Counter[str]


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=200_000, help="Number of events to publish.")
@click.option("--seed", type=int, default=1, help="Another seed gives other events.")
@format_option
def command(events: int, seed: int, output_format: str) -> None:
    """Run the main job on generated traffic and check the result.

    Starts the local parts, publishes events of yesterday (disorder, copies, handoffs, closes, alerts, test
    traffic, bad records), runs a worker until all of it is in PostgreSQL, and compares the ledger with the
    reference model. Then an account is invoiced for a period that ended within the traffic, and the sessions
    on the invoice are compared with those of the ledger. Status 1 if anything differs.

    Example:

    \b
      quarterhour demo --events 50000 --seed 7
    """
    settings = load_settings()
    console = Console(stderr=output_format != TABLE, highlight=False, soft_wrap=True)
    expected, found, seconds = asyncio.run(_demo(settings, events, seed, console))
    comparison = compare(found.records, expected.records)
    console.print("\n" + comparison.report("ledger", "reference"))
    differences = _differences(comparison, expected, found)
    invoiced = _invoice(console)
    emit_summary(output_format, _summary(events, seconds, found, not differences) | invoiced.summary())
    if differences:
        raise AnswerIsNo(f"the ledger differs from the reference model: {', '.join(differences)}")
    if not invoiced.adds_up:
        raise AnswerIsNo(f"the lines of invoice {invoiced.invoice.name} do not add up to the ledger")
    if output_format == TABLE:
        prefix = "" if "VIRTUAL_ENV" in os.environ else ".venv/bin/"
        console.print(TRY_NEXT.format(prefix=prefix, number=invoiced.invoice.name))


def _invoice(console: Console) -> Invoiced:
    """Invoice what the ledger now has of the demo's account."""
    settings, now_ms = load_settings(), _now_ms()
    dsn, ends_ms = settings.require_postgres_dsn(), now_ms - PERIOD_ENDED_MS
    with console.status("invoicing an account"):
        return with_store(
            lambda store: invoice_traffic(
                store, dsn, ends_ms, now_ms, settings.invoice_grace_ms, settings.home
            )
        )


async def _demo(
    settings: Settings, events: int, seed: int, console: Console
) -> tuple[Expected, Found, float]:
    with console.status("starting Kafka and PostgreSQL (the first time: downloading them)"):
        end_points = await asyncio.to_thread(Parts(settings.home).up, console.print)
        await migrate_all(end_points.postgres_dsn)
        names = topics_to_create(settings.topics, settings.topic_rejected_events)
        await create_topics(end_points.kafka_brokers, names)
    with console.status(f"generating and publishing {events:,} events"):
        lines = await asyncio.to_thread(
            list, traffic(events, seed, _now_ms() - TRAFFIC_ENDED_MS, faults=True)
        )
        ledger = await PostgresLedger.open(end_points.postgres_dsn, algorithm=ALGORITHM)
        counts_before = await _counts(ledger)
        offsets_before = await _read(ledger, settings)
        await publish(lines, end_points.kafka_brokers, settings.topics, raw=True)
    seconds = await _run_worker(ledger, settings, offsets_before, events, console)
    with console.status("computing the same bills with the reference model"):
        expected = await asyncio.to_thread(_expect, lines)
    outcomes, dead_letters = (
        after - before for after, before in zip(await _counts(ledger), counts_before, strict=True)
    )
    records = await _records_of(expected, end_points.postgres_dsn)
    await ledger.close()
    return expected, Found(records, outcomes, dead_letters), seconds


async def _run_worker(
    ledger: PostgresLedger, settings: Settings, offsets_before: int, events: int, console: Console
) -> float:
    """Run a worker process until it is drained, with a progress bar; return the seconds its work took."""
    command = (sys.executable, "-m", "quarterhour", "worker", "--until-drained", "--format", "ndjson")
    environment = {**os.environ, "QUARTERHOUR_LOG_LEVEL": "warning"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment)
    with _progress_bar(events, console) as show:
        output = asyncio.create_task(process.communicate())
        while not output.done():
            await asyncio.wait([output], timeout=POLL_SECONDS)
            show(await _read(ledger, settings) - offsets_before)
    summary, messages = output.result()
    if process.returncode:
        raise QuarterhourError(f"the worker ended with status {process.returncode}:\n{messages.decode()}")
    seconds: float = json.loads(summary)["seconds"]
    return seconds


@contextmanager
def _progress_bar(events: int, console: Console) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("worker"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("worker", total=events)
        yield lambda done: progress.update(task, completed=done)


async def _read(ledger: PostgresLedger, settings: Settings) -> int:
    """How many records of the source topics the ledger has taken in."""
    positions = await ledger.positions(list(settings.topics.values()))
    return sum(position.next_offset for position in positions.values())


async def _counts(ledger: PostgresLedger) -> tuple[Counter[str], Counter[str]]:
    """Records read so far by outcome, and dead letters by reason."""
    outcomes: Counter[str] = Counter()
    dead_letters: Counter[str] = Counter()
    for key, count in (await ledger.outcome_counts()).items():
        outcomes[key.outcome] += count
        if key.reason:
            dead_letters[key.reason] += count
    return outcomes, dead_letters


def _expect(lines: list[bytes]) -> Expected:
    settings, now_ms = load_settings(), _now_ms()
    events: list[Any] = []
    dead_letters: Counter[str] = Counter()
    for line in lines:
        try:
            event, time_ms, _ = decode_line(line)
            check_clock(time_ms, now_ms, settings.max_ahead_ms, settings.max_age_ms)
            events.append(event)
        except Rejected as rejected:
            dead_letters[rejected.reason.value] += 1
    outcomes = reference.outcomes(events)
    outcomes[Outcome.DEAD_LETTER] = dead_letters.total()
    return Expected(reference.sessionize(events), +outcomes, dead_letters)


async def _records_of(expected: Expected, dsn: str) -> list[Any]:
    """The ledger's records of the demo's own conversations and deliveries: the database may hold others."""
    own = {_subject(record) for record in expected.records}
    return [record async for record in read_session_records(dsn) if _subject(record) in own]


def _subject(record: Any) -> tuple[str, ...]:
    subject = record["conversation_id"] if record["kind"] == "usage" else record["delivery_id"]
    return record["account_id"], record["bot_id"], record["kind"], subject


def _differences(comparison: Comparison, expected: Expected, found: Found) -> list[str]:
    checks = {
        "records": comparison.equal,
        "outcomes": expected.outcomes == found.outcomes,
        "dead letters": expected.dead_letters == found.dead_letters,
    }
    return [name for name, same in checks.items() if not same]


def _summary(events: int, seconds: float, found: Found, equal: bool) -> dict[str, object]:
    bills = [record for record in found.records if record["status"] != "void"]
    return {
        "events": events,
        "facts": found.outcomes[Outcome.FACT],
        "repeats": found.outcomes[Outcome.REPEAT],
        "conflicts": found.outcomes[Outcome.CONFLICT],
        "test traffic": found.outcomes[Outcome.TEST_TRAFFIC],
        "unbilled": found.outcomes[Outcome.UNBILLED],
        "records by kind": dict(Counter(record["kind"] for record in bills)),
        "records by status": dict(Counter(record["status"] for record in bills)),
        "human-agent minutes left out": sum(record.get("agent_ms", 0) for record in bills) // 60_000,
        "dead letters by reason": dict(found.dead_letters.most_common()),
        "events per second": round(events / seconds),
        "ledger equals the reference": "yes" if equal else "no",
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
