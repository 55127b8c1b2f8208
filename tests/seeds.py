"""`python -m tests.seeds`: `quarterhour sessionize` beside the reference model, on many seeds of traffic.

Each seed's events go through the command as a user would run it; the records are compared by id, in all
fields but those that depend on the order of arrival. Exit status 1 if any row differs or there are none.
"""

import json
import subprocess
import sys
from typing import Any

import click

from quarterhour.comparing import COMPARED, Comparison, compare
from quarterhour.lines import decode_line
from quarterhour.traffic import traffic
from sessionizer import reference

UNTIL_MS = 1_790_000_000_000
KINDS = {"generated": False, "hostile": True}


def sessionized(lines: list[bytes]) -> list[dict[str, Any]]:
    """The records that the command prints for these events."""
    command = (sys.executable, "-m", "quarterhour", "sessionize", "-", "--format", "ndjson")
    done = subprocess.run(command, input=b"\n".join(lines), capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare_seed(events: int, seed: int, *, hostile: bool) -> Comparison:
    """Both sides on one seed."""
    lines = list(traffic(events, seed, UNTIL_MS, hostile=hostile))
    expected = reference.sessionize([decode_line(line)[0] for line in lines])  # type: ignore[misc]
    return compare(sessionized(lines), expected)


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=20, help="Number of seeds of each kind.")
@click.option("--events", type=click.IntRange(min=1), default=10_000, help="Events a seed.")
def main(seeds: int, events: int) -> None:
    """Compare `quarterhour sessionize` with the reference model."""
    click.echo(f"fields compared: {', '.join(COMPARED)}")
    equal = True
    for kind, hostile in KINDS.items():
        found = [compare_seed(events, seed, hostile=hostile) for seed in range(seeds)]
        equal &= all(comparison.equal for comparison in found)
        click.echo(
            f"{kind}: {seeds} seeds of {events:,} events; rows: "
            f"sessionize {sum(each.left_rows for each in found):,}, "
            f"reference {sum(each.right_rows for each in found):,}; "
            f"in one only: {sum(len(each.only_left) + len(each.only_right) for each in found)}; "
            f"differing: {sum(len(each.differing) for each in found)}; "
            f"fewest rows of a seed: {min(each.left_rows for each in found):,}"
        )
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
