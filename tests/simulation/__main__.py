"""`python -m tests.simulation`: play seeds, and see that planted bugs are found.

Status 1 if a seed fails, or a bug is not found.
"""

from __future__ import annotations

import sys
import time

import click

from tests.simulation.campaign import Result, run
from tests.simulation.patching import PATCHES, find, run_patched
from tests.simulation.world import Run, World

COMMAND = "python -m tests.simulation"


def show_run(played: Run, *, trace: bool) -> None:
    """Print what became of one seed."""
    if trace:
        print("\n".join(played.trace))
    print(f"seed {played.seed}: {played.violation or 'all holds'}; fingerprint {played.fingerprint}")


def show_result(result: Result) -> None:
    """Print what became of many seeds."""
    seconds = f"{result.seconds:.1f} s ({result.cpu_seconds:.1f} s of one core)"
    print(f"{result.seeds:,} seeds in {seconds}, {result.records:,} records")
    for what, count in sorted(result.happened.items()):
        print(f"  {what}: {count:,}")
    for failed in result.failures:
        print(f"seed {failed.seed} fails: {failed.violation}\n  {COMMAND} --seed {failed.seed} --trace")
    print(f"{len(result.failures)} of {result.seeds:,} seeds fail")


def show_patch(patch: str, seeds: range) -> bool:
    """Print which seed found a planted bug; return whether one did."""
    started = time.monotonic()
    found = find(patch, seeds)
    seconds = time.monotonic() - started
    if found is None:
        print(f"{patch}: NOT FOUND by {len(seeds):,} seeds in {seconds:.1f} s", flush=True)
        return False
    print(f"{patch}: found by seed {found.seed} in {seconds:.1f} s: {found.violation}")
    print(f"  {COMMAND} --patch {patch} --seed {found.seed} --trace", flush=True)
    return True


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=1_000, help="How many seeds.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="The first of them.")
@click.option("--seed", type=click.IntRange(min=0), help="This seed alone.")
@click.option("--trace", is_flag=True, help="Print all that happened in it.")
@click.option("--patch", type=click.Choice(PATCHES), help="Plant this bug first.")
@click.option("--patches", is_flag=True, help="Plant each bug and see that it is found.")
def main(seeds: int, first: int, seed: int | None, trace: bool, patch: str | None, patches: bool) -> None:
    """Play seeds, each a world of its own in which everything goes wrong that can."""
    chosen = range(first, first + seeds)
    if patch and seed is not None:
        sys.exit(run_patched(patch, ("--seed", str(seed), *(["--trace"] if trace else ()))))
    if seed is not None:
        played = World(seed).run()
        show_run(played, trace=trace)
        sys.exit(1 if played.violation else 0)
    if patch or patches:
        found = [show_patch(name, chosen) for name in ([patch] if patch else PATCHES)]
        sys.exit(0 if all(found) else 1)
    result = run(chosen)
    show_result(result)
    sys.exit(1 if result.failures else 0)


if __name__ == "__main__":
    main()
