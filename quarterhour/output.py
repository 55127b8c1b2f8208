"""How a command speaks: tables for people on a terminal, one JSON object a line for programs.

Standard output carries answers only; messages go to standard error.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar

import click

from schemas.reasons import Rejected

F = TypeVar("F", bound=Callable[..., Any])
TABLE = "table"
NDJSON = "ndjson"
WIDTH_OFF_TERMINAL = 250


def format_option(command: F) -> F:
    """Add `--format`; the command gets `output_format`, either TABLE or NDJSON."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice([TABLE, NDJSON, "json"]),
        default=None,
        callback=lambda _context, _option, value: _resolve(value),
        help="Form of the output: a table, or one JSON object a line (ndjson; json is the same). "
        "Default: table on a terminal, ndjson elsewhere.",
    )(command)


def emit(output_format: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows to standard output; a table shows the given columns only, JSON lines show all fields."""
    if output_format == TABLE:
        _emit_table(list(rows), columns)
    else:
        for row in rows:
            emit_object(row)


def emit_object(row: Mapping[str, Any]) -> None:
    """Write one JSON object as one line of standard output."""
    sys.stdout.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


@contextmanager
def progress_bar(file: BinaryIO, description: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much of a file was read; yields what is to be told the bytes of each read."""
    if not sys.stderr.isatty():
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(description), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=_size(file))
        yield lambda read: progress.advance(task, read)


def tell_refused(number: int, rejected: Rejected) -> None:
    """Name a bad line of a file on standard error."""
    click.echo(f"line {number}: {rejected}", err=True)


def _size(file: BinaryIO) -> int | None:
    """The file's length; None for a pipe."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def emit_summary(output_format: str, summary: Mapping[str, object]) -> None:
    """Write one result: a row for each of its figures, or one JSON object."""
    if output_format == TABLE:
        rows = [{"result": name, "value": _figure(value)} for name, value in summary.items()]
        emit(output_format, rows, ["result", "value"])
    else:
        emit_object(summary)


def _figure(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_figure(figure)}" for name, figure in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _resolve(chosen: str | None) -> str:
    if chosen is None:
        return TABLE if sys.stdout.isatty() else NDJSON
    return TABLE if chosen == TABLE else NDJSON


def _emit_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = columns or (list(rows[0]) if rows else [])
    table = Table(box=SIMPLE_HEAD)
    for place, column in enumerate(shown):
        table.add_column(column, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*(Text("" if row.get(column) is None else str(row[column])) for column in shown))
    Console(width=None if sys.stdout.isatty() else WIDTH_OFF_TERMINAL).print(table)
