"""Fuzz the decode path: `python -m tests.fuzz`. The status is 1 if something did not hold."""

import sys
from pathlib import Path

import click

from tests.fuzz import report, run
from tests.fuzz.checking import Broken, check
from tests.fuzz.session import load_inputs


@click.command()
@click.option("--inputs", type=click.IntRange(min=1), default=1_000_000, help="Number of inputs.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, help="Where chance begins.")
@click.option("--replay", type=click.Path(exists=True, path_type=Path), help="Inputs that broke it.")
def main(inputs: int, seed: int, replay: Path | None) -> None:
    """Read hostile records as a worker does, and merge what comes of them."""
    if replay:
        sys.exit(replayed(replay))
    result = run(inputs, seed)
    for line in report(result):
        click.echo(line)
    sys.exit(0 if result.passed else 1)


def replayed(file: Path) -> int:
    """Check the inputs of a file; return the status."""
    inputs = load_inputs(file)
    for given in inputs:
        click.echo(str(given)[:1_000])
    try:
        for seen in check(inputs):
            click.echo(seen)
    except Broken as broken:
        click.echo(f"broken: {broken}")
        return 1
    return 0


if __name__ == "__main__":
    main()
