"""`quarterhour sessionize`: the billing rule as a filter, without broker or database."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import click

from quarterhour.errors import AnswerIsNo
from quarterhour.lines import decode_line, read_chunks
from quarterhour.output import emit, format_option, progress_bar, tell_refused
from quarterhour.rule_file import read_rules
from schemas.decode import Rejected
from schemas.events import Event
from sessionizer.batch import sessionize
from sessionizer.rules import RuleBook

COLUMNS = (
    "kind",
    "account_id",
    "bot_id",
    "conversation_id",
    "block",
    "started_at",
    "ended_at",
    "bot_ms",
    "agent_ms",
    "user_messages",
    "bot_messages",
)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of [[rule_sets]]: effective_from (a time), account_id with bot_id, block, idle_timeout, "
    "handoff_timeout (durations such as 15min; units ms, s, min, h, d). Default: 15min, 15min, 24h for all.",
)
@format_option
def command(file: BinaryIO, rules: Path | None, output_format: str) -> None:
    """Compute the session records of a file of events.

    FILE holds one event a line (NDJSON), in any order; - is standard input. Every record is final. Times are
    RFC 3339 in UTC, lengths (*_ms) are milliseconds. A bad line is named on standard error and left out, and
    the exit status is 1; without a Kafka timestamp, a time far ahead or long ago is no fault here.

    Example:

    \b
      quarterhour traffic --events 1000 --seed 1 | quarterhour sessionize -
    """
    refused = Counter[str]()
    book = read_rules(rules) if rules else RuleBook()
    with progress_bar(file, "Reading") as advance:
        records = sessionize(_events(read_chunks(file, advance), refused), book)
    emit(output_format, records, COLUMNS)
    if refused:
        raise AnswerIsNo(f"{refused.total()} lines were refused", code="lines_refused")


def _events(chunks: Iterator[list[bytes]], refused: Counter[str]) -> Iterator[tuple[Event, int]]:
    """Decode the good lines; a bad one is named and counted."""
    for number, line in enumerate(chain.from_iterable(chunks), 1):
        try:
            event, time_ms, _ = decode_line(line)
        except Rejected as rejected:
            tell_refused(number, rejected)
            refused[rejected.reason] += 1
        else:
            yield event, time_ms
