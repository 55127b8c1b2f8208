"""Result files: what a command measured, on what and from which commit. The bench page is made of them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click

from quarterhour.parts import Parts
from quarterhour.parts.errors import PartFailed, PartMissing
from tests.bench.figures import machine
from tests.bench.processes import BenchFailed

RESULTS = Path(__file__).parent / "results"
MISSING_PART_STATUS = 3

Result = dict[str, Any]
Measure = Callable[[Parts], AsyncIterator[Result]]
"""Gives result after result: figures by the name of what they are of."""


def measuring(name: str, home: Path, folder: Path, measure: Measure) -> None:
    """Run a measurement on the parts of a home; each of its results is kept as soon as it is there."""
    parts = Parts(home)
    left_running = parts.endpoints() is not None
    try:
        parts.up(tell)
        asyncio.run(_keep_all(name, parts, folder, measure))
    except (PartMissing, PartFailed) as error:
        click.echo(f"{error.code}: {error}", err=True)
        sys.exit(MISSING_PART_STATUS)
    except BenchFailed as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    finally:
        if not left_running:
            parts.down()


async def _keep_all(name: str, parts: Parts, folder: Path, measure: Measure) -> None:
    async for result in measure(parts):
        around = {
            "commit": _commit(),
            "machine": machine(parts.postgres.query("show server_version")),
            "load_average": [round(value, 1) for value in os.getloadavg()],
        }
        keep(name, {part: figures | around for part, figures in result.items()}, folder)


def measure_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all measurements have."""
    folder = click.Path(path_type=Path, file_okay=False)
    home = click.option("--home", type=folder, default=".quarterhour", help="Folder of the local parts.")
    results = click.option("--results", type=folder, default=RESULTS, help="Folder of the result files.")
    return home(results(command))


def keep(name: str, result: Result, folder: Path = RESULTS) -> None:
    """Write a result file: its parts that were not measured now stay as they were."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(read(name, folder) | result, indent=1) + "\n")


def read(name: str, folder: Path = RESULTS) -> Result:
    """A result file; empty if there is none."""
    path = folder / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def tell(message: str) -> None:
    """To whoever waits."""
    click.echo(message, err=True)


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip()
