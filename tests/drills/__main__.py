"""`python -m tests.drills`: the long drills, and the table of what they showed.

Exit status 1 when a record is wrong or a fault never bit.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import click

from quarterhour.parts import Parts
from tests.drills.catalogue import DRILLS
from tests.drills.drill import Drill, Row, table
from tests.drills.running import run_drill
from tests.drills.stand import parts_of_this_run

NAMES = {drill.act.__name__: drill for drill in DRILLS}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(NAMES)))
@click.option("--short", is_flag=True, help="As few tries as the suite has.")
@click.option("--seed", type=int, default=1, help="Decides traffic and moments.")
def main(names: tuple[str, ...], short: bool, seed: int) -> None:
    """Strike real workers, Kafka and PostgreSQL, and compare every record with the reference.

    Example:

    \\b
      python -m tests.drills kill_at_random
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of the drill's own clients
    drills = [NAMES[name] for name in names] or list(DRILLS)
    with parts_of_this_run("drills") as (parts, folder):
        rows = [_run(drill, parts, folder, short, seed) for drill in drills]
    print(table(rows))
    sys.exit(not all(row.passed for row in rows))


def _run(drill: Drill, parts: Parts, folder: Path, short: bool, seed: int) -> Row:
    began = time.monotonic()
    own = folder / drill.act.__name__
    own.mkdir()
    row = asyncio.run(run_drill(drill, parts, own, drill.short_tries if short else drill.tries, seed))
    print(
        f"{' | '.join(row.cells())} | {time.monotonic() - began:.0f} s",
        *row.notes,
        *row.findings,
        sep="\n",
        file=sys.stderr,
    )
    return row


main()
