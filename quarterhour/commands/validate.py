"""`quarterhour validate`: events of a file against the contract, for producers, before they reach Kafka."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from quarterhour.errors import AnswerIsNo
from quarterhour.lines import decode_line, read_lines
from quarterhour.output import TABLE, emit_object, format_option
from schemas.decode import Rejected


@click.command()
@click.argument("file", type=click.File("rb"))
@format_option
def command(file: BinaryIO, output_format: str) -> None:
    """Check every event of a file against the contract.

    FILE holds one event a line; `-` is standard input. Prints a line for each bad one: number (from 1),
    reason code, the field, what is wrong and what to do. A type decides its topic; keys and clocks are not
    checked here, since a file has none. Exit status 1 if any line is bad.

    Example:

    \b
      quarterhour validate events.ndjson
    """
    count, bad = 0, 0
    for count, rejected in _verdicts(file):
        if rejected:
            bad += 1
            _report(output_format, count, rejected)
    if bad:
        raise AnswerIsNo(f"{bad} of {count} lines bad")
    click.echo(f"{count} lines, all good", err=True)


def _verdicts(file: BinaryIO) -> Iterator[tuple[int, Rejected | None]]:
    """Yield each line's number with what is wrong with it."""
    for number, line in enumerate(read_lines(file), start=1):
        try:
            decode_line(line)
        except Rejected as rejected:
            yield number, rejected
        else:
            yield number, None


def _report(output_format: str, number: int, rejected: Rejected) -> None:
    if output_format == TABLE:
        # Plain columns, written at once: a file may have a million bad lines.
        what = f"{rejected.detail or rejected.reason.meaning}; {rejected.reason.what_to_do}"
        click.echo(f"{number:>8}  {rejected.reason:<19}  {rejected.field:<20}  {what}")
    else:
        emit_object(_row(number, rejected))


def _row(number: int, rejected: Rejected) -> dict[str, Any]:
    return {
        "line": number,
        "reason": rejected.reason,
        "field": rejected.field,
        "detail": rejected.detail,
        "meaning": rejected.reason.meaning,
        "what_to_do": rejected.reason.what_to_do,
    }
