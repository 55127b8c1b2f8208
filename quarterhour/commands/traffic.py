"""`quarterhour traffic`: realistic events on standard output."""

import sys
import time
from collections.abc import Iterable
from itertools import islice

import click

from quarterhour.errors import WrongInput
from quarterhour.traffic import traffic
from schemas.decode import Rejected, parse_time_ms

LINES_A_WRITE = 2_000


@click.command()
@click.option("--events", type=click.IntRange(min=1), required=True, help="Number of lines to write.")
@click.option("--seed", type=int, required=True, help="Another seed gives other events.")
@click.option("--until", help="Time up to which events happen: RFC 3339 with an offset. Default: now.")
@click.option("--faults", is_flag=True, help="Make about one record in a thousand a bad one, of many kinds.")
@click.option(
    "--hostile", is_flag=True, help="Small, ugly traffic for tests instead: ties, exact limits, shuffled."
)
def command(events: int, seed: int, until: str | None, faults: bool, hostile: bool) -> None:
    """Generate realistic events.

    Writes one event a line (NDJSON), in about the order of a log, over the 8 hours before --until. The bytes
    depend on --events, --seed and --until alone. About 25 events a conversation; 10 % of conversations with a
    human agent; 1 % exact copies; 5 % of events displaced by up to 10 minutes; closes, alerts, test traffic.

    Example:

    \b
      quarterhour traffic --events 1000 --seed 1 --until 2026-10-03T09:00:00Z > events.ndjson
    """
    if faults and hostile:
        raise click.UsageError("--faults and --hostile do not go together: every hostile event is valid")
    lines = traffic(events, seed, _until_ms(until), faults=faults, hostile=hostile)
    _write(lines)


def _until_ms(until: str | None) -> int:
    if until is None:
        return time.time_ns() // 1_000_000
    try:
        return parse_time_ms(until)
    except Rejected:
        raise WrongInput(f"--until {until!r} is not a time such as 2026-10-03T09:00:00Z") from None


def _write(lines: Iterable[bytes]) -> None:
    source = iter(lines)
    while chunk := list(islice(source, LINES_A_WRITE)):
        sys.stdout.buffer.write(b"\n".join(chunk) + b"\n")
    sys.stdout.buffer.flush()
