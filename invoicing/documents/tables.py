"""CSV for spreadsheets and for programs (RFC 4180): the lines of a document, and the records behind them.

Amounts and prices are plain decimal numbers in major units beside their currency, times are RFC 3339 in UTC
with milliseconds. A text that a spreadsheet would take for a formula gets an apostrophe in front; no
number does.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from io import StringIO
from typing import Any, Final

from invoicing.model import Document, Line
from invoicing.money import major
from schemas.times import format_time_ms

LINE_COLUMNS: Final = (
    "invoice",
    "line",
    "kind",
    "basis",
    "bot_id",
    "bot_name",
    "plan_id",
    "plan_version",
    "plan_name",
    "from",
    "to",
    "quantity",
    "unit_price",
    "tax_percent",
    "amount",
    "currency",
    "detail",
)
RECORD_COLUMNS: Final = (
    "invoice",
    "line",
    "change",
    "kind",
    "bot_id",
    "session_id",
    "started_at",
    "ended_at",
    "bot_ms",
    "agent_ms",
    "user_id",
    "channel",
    "subject_id",
    "position",
    "revision",
)
_TIMES: Final = frozenset(("started_at", "ended_at"))
_BEGINS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def lines_csv(document: Document) -> str:
    """Write the document's lines, those of tax included: the column `amount` adds up to the total.

    Columns: `invoice` (its number), `line` (from 1), `kind` and `basis` (`LineKind`, `Basis`), `bot_id`,
    `bot_name`, `plan_id`, `plan_version`, `plan_name`, `from` and `to` (half-open), `quantity` (sessions),
    `unit_price`, `tax_percent`, `amount`, `currency`, `detail`. What a line has not is empty.
    """
    rows = (_line_row(number, line, document) for number, line in enumerate(document.lines, 1))
    return "".join(_table(LINE_COLUMNS, rows))


def records_csv(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write records as they were invoiced: the header, then row by row. A column that a row has not is empty.

    Columns: `invoice` (its number), `line` (the one that bills it), `change` (in an adjustment: whether it
    came or went), `kind` (usage or alert), `bot_id`, `session_id`, `started_at` and `ended_at` (in the rows:
    ms since 1970), `bot_ms`, `agent_ms`, `user_id`, `channel`, `subject_id` (conversation or delivery),
    `position` (in the change feed), `revision`. Raises ValueError on any other column.
    """
    return _table(RECORD_COLUMNS, rows)


def _line_row(number: int, line: Line, document: Document) -> dict[str, Any]:
    plan_id, plan_version = line.plan or ("", "")
    return {
        "invoice": document.number,
        "line": number,
        "kind": line.kind.value,
        "basis": line.basis.value,
        "bot_id": line.bot_id,
        "bot_name": document.bot_names.get(line.bot_id or ""),
        "plan_id": plan_id,
        "plan_version": plan_version,
        "plan_name": document.plan_names.get(plan_id),
        "from": line.during and format_time_ms(line.during.from_ms),
        "to": line.during and format_time_ms(line.during.to_ms),
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "tax_percent": line.tax_percent,
        "amount": major(line.amount_minor, document.currency),
        "currency": document.currency,
        "detail": line.detail,
    }


def _table(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    text = StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    yield text.getvalue()
    for row in rows:
        text.seek(0)
        text.truncate()
        writer.writerow({column: _cell(column, value) for column, value in row.items()})
        yield text.getvalue()


def _cell(column: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if column in _TIMES and value is not None:
        return format_time_ms(value)
    if isinstance(value, str) and value.startswith(_BEGINS_FORMULA):
        return f"'{value}"
    return value
