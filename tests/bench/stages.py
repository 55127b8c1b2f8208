"""`python -m tests.bench.stages`: where the worker's CPU seconds of a million events go.

One run of `tests.bench.staged_worker` over the bench's events, its ledger compared with the reference model.
Timing costs a twentieth by itself; what is in no stage is Faust's, the event loops' and the allocator's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from quarterhour.output import TABLE, emit
from quarterhour.parts import Parts
from tests.bench.contenders import Quarterhour
from tests.bench.events import published
from tests.bench.processes import Contestant, started

REST = "all else: Faust, event loops, memory"


class StagedQuarterhour(Quarterhour):
    """The product, with its stages timed."""

    @property
    def stages(self) -> Path:
        return self._folder / "stages.json"

    def _worker(self, environment: dict[str, str]) -> AbstractAsyncContextManager[Contestant]:
        command = [sys.executable, "-m", "tests.bench.staged_worker", "worker", "--until-drained"]
        return started("staged", command, self._folder, environment | {"BENCH_STAGES": str(self.stages)})


@click.command()
@click.option("--events", type=click.IntRange(min=1), default=1_000_000, help="Number of events.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), default=".quarterhour")
def main(events: int, home: Path) -> None:
    """Print the CPU seconds of each stage for a million events."""
    parts = Parts(home)
    left_running = parts.endpoints() is not None
    try:
        parts.up(lambda message: click.echo(message, err=True))
        spent, wrong = asyncio.run(_run(parts, events))
    finally:
        if not left_running:
            parts.down()
    whole = spent.pop("all")
    spent[REST] = whole - sum(spent.values())
    rows = sorted(spent.items(), key=lambda row: -row[1])
    emit(
        TABLE,
        [
            {
                "stage": stage,
                "CPU s per million": f"{seconds / events * 1e6:.2f}",
                "%": f"{seconds / whole:.0%}",
            }
            for stage, seconds in [*rows, ("all", whole)]
        ],
        ["stage", "CPU s per million", "%"],
    )
    click.echo(f"wrong records: {wrong}")
    sys.exit(1 if wrong else 0)


async def _run(parts: Parts, events: int) -> tuple[dict[str, float], int | None]:
    with TemporaryDirectory(prefix="quarterhour-bench-") as folder:
        async with published(parts, events) as found:
            contender = StagedQuarterhour(parts, found, Path(folder), Path(folder))
            outcome = await contender.run()
            return json.loads(contender.stages.read_text()), outcome.wrong


if __name__ == "__main__":
    main()
