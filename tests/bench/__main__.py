"""`python -m tests.bench`: one run of the benchmark; see the package for what is measured and how.

Exit status 1 when Quarterhour's ledger differs from the reference model, or when a contender fails; 3 when
something that a contender needs cannot be got.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click

from quarterhour.output import NDJSON, TABLE, emit, emit_object
from quarterhour.parts import Parts
from quarterhour.parts.errors import PartFailed, PartMissing
from quarterhour.traffic import CONFLICTING, COPIED, DISPLACED, DISPLACED_MS
from schemas.times import format_time_ms
from tests.bench.contenders import Contender, Crash, Meddle, Outcome, Quarterhour
from tests.bench.events import SEED, Events, published
from tests.bench.figures import (
    COLUMNS,
    cpu_seconds_per_million,
    events_per_second,
    figures_of,
    json_rows,
    machine,
    mis_set,
    seconds,
    table_rows,
)
from tests.bench.peers.programs import CONTENDERS, QUICK
from tests.bench.processes import BenchFailed

MISSING_PART_STATUS = 3
KILLED_AT = 0.4
"""Of the time that a contender's timed runs took."""


@dataclass(frozen=True)
class Options:
    """What to run."""

    events: int = 1_000_000
    rounds: int = 3
    only: tuple[str, ...] = tuple(QUICK)
    kill: bool = True
    output_format: str = TABLE
    home: Path = Path(".quarterhour")


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=Options.events, help="Number of events.")
@click.option("--rounds", type=click.IntRange(min=1), default=Options.rounds, help="Runs of each contender.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=".quarterhour",
    help="Folder of the local parts.",
)
@click.option(
    "--peers", is_flag=True, help="All contenders, also those that need packages of their own or Java."
)
@click.option("--only", type=click.Choice(list(CONTENDERS)), multiple=True, help="These contenders only.")
@click.option("--kill/--no-kill", default=Options.kill, help="Also kill each once and count wrong records.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice([TABLE, NDJSON]),
    default=TABLE,
    help="A table for people, or one JSON object a line.",
)
def main(peers: bool, only: tuple[str, ...], **options: Any) -> None:
    """Measure Quarterhour beside bare loops and other stream processors, on real parts.

    Example:

    \b
      python -m tests.bench --events 100000 --rounds 1
    """
    sys.exit(run(Options(only=only or tuple(CONTENDERS if peers else QUICK), **options)))


def run(options: Options) -> int:
    """Run the bench on the parts of its home, started if need be; returns the exit status."""
    parts = Parts(options.home)
    left_running = parts.endpoints() is not None
    try:
        parts.up(_tell)
        return 0 if asyncio.run(bench(parts, options)) else 1
    except (PartMissing, PartFailed) as error:
        click.echo(f"{error.code}: {error}", err=True)
        return MISSING_PART_STATUS
    except BenchFailed as error:
        click.echo(str(error), err=True)
        return 1
    finally:
        if not left_running:
            parts.down()


async def bench(parts: Parts, options: Options, meddle: Meddle | None = None) -> bool:
    """Run all rounds and print the table; return whether ours was right. `meddle` is for a test."""
    for key in options.only:
        CONTENDERS[key].install(options.home)
    with TemporaryDirectory(prefix="quarterhour-bench-") as folder:
        async with _contenders(parts, options, Path(folder)) as contenders:
            for contender in contenders.values():
                if isinstance(contender, Quarterhour):
                    contender.meddle = meddle
                contender.prepare()
            runs = await _run_rounds(contenders, options.rounds)
            crashes = await _crash(contenders, runs) if options.kill else {}
            _report(parts, options, contenders, runs, crashes)
    results = [*chain.from_iterable(runs.values()), *crashes.values()]
    faults = {fault for result in results for fault in result.faults}
    for fault in sorted(faults):
        _tell(f"WRONG: {fault}")
    return not faults


@asynccontextmanager
async def _contenders(parts: Parts, options: Options, folder: Path) -> AsyncIterator[dict[str, Contender]]:
    """The contenders, with the events they read in Kafka."""
    async with AsyncExitStack() as stack:
        published_by_count: dict[int, Events] = {}
        contenders: dict[str, Contender] = {}
        for key in options.only:
            count = min(options.events, CONTENDERS[key].most_events or options.events)
            if count not in published_by_count:
                _tell(f"generating and publishing {count:,} events")
                published_by_count[count] = await stack.enter_async_context(published(parts, count))
            contenders[key] = CONTENDERS[key](parts, published_by_count[count], folder, options.home)
        yield contenders


async def _run_rounds(contenders: dict[str, Contender], rounds: int) -> dict[str, list[Outcome]]:
    runs: dict[str, list[Outcome]] = defaultdict(list)
    order = list(contenders)
    for number in range(rounds):
        for key in order:
            outcome = await contenders[key].run()
            runs[key].append(outcome)
            _tell(
                f"round {number + 1} of {rounds}: {key}: {events_per_second(outcome):,.0f} events/s, "
                f"{cpu_seconds_per_million(outcome):.2f} CPU s per million, wrong records: {outcome.wrong}"
            )
        order.append(order.pop(0))
    return {key: runs[key] for key in contenders}


async def _crash(contenders: dict[str, Contender], runs: dict[str, list[Outcome]]) -> dict[str, Crash]:
    """Kill each contender once that keeps anything."""
    crashes: dict[str, Crash] = {}
    for key, contender in contenders.items():
        if crash := await contender.crash(KILLED_AT * median(map(seconds, runs[key]))):
            crashes[key] = crash
            _tell(f"killed once: {key}: {crash.saved:.0%} saved by then, wrong records: {crash.wrong}")
    return crashes


def _report(
    parts: Parts,
    options: Options,
    contenders: dict[str, Contender],
    runs: dict[str, list[Outcome]],
    crashes: dict[str, Crash],
) -> None:
    figures = {key: figures_of(CONTENDERS[key], outcomes, crashes.get(key)) for key, outcomes in runs.items()}
    rows, ours, java_loop = list(figures.values()), figures.get("quarterhour"), figures.get("java-loop")
    context = _context(parts, options, contenders)
    if options.output_format == NDJSON:
        emit_object(context)
        emit(NDJSON, json_rows(rows, ours, java_loop))
        return
    for name, value in context.items():
        click.echo(f"{name.replace('_', ' ')}: {_shown(value)}")
    emit(TABLE, table_rows(rows, ours, java_loop), COLUMNS)
    if java_loop:
        click.echo(f"mis-set: {', '.join(mis_set(rows, java_loop)) or 'none'}")


def _context(parts: Parts, options: Options, contenders: dict[str, Contender]) -> dict[str, Any]:
    """What stands above the table."""
    context: dict[str, Any] = {
        "machine": machine(parts.postgres.query("show server_version")),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "events": _traffic(max((contender.events for contender in contenders.values()), key=_count)),
        "rounds": f"{options.rounds}, alternating; median (minimum to maximum)",
    }
    for contender in contenders.values():
        if isinstance(contender, Quarterhour):
            context["outcomes_expected"] = dict(contender.events.outcomes)
            context["shipped_defaults"] = contender.shipped_defaults()
    return context


def _count(events: Events) -> int:
    return events.count


def _traffic(events: Events) -> str:
    return (
        f"quarterhour traffic, seed {SEED}, until {format_time_ms(events.until_ms)}, in its one mix: "
        f"{COPIED:.2%} copied, {CONFLICTING:.2%} conflicting, "
        f"{DISPLACED:.2%} displaced by up to {DISPLACED_MS // 60_000} min; "
        f"{events.count:,} {events.subjects}"
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return str(value)


def _tell(message: str) -> None:
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
