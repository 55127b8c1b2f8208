"""What the commands of the invoice aggregator share: its store, its errors, and how values are written.

The one place that turns the aggregator's errors into those of the command line: a code that begins with
`wrong` or `unknown` is wrong input, an unreachable store is a part that is unreachable, and every other is
the answer no. Codes stay as they are.
"""

import asyncio
import getpass
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

import click

from invoicing.errors import InvoicingError, StoreUnreachable
from invoicing.model import Line
from invoicing.money import shown
from invoicing.store.connecting import Store
from quarterhour.durations import parse_duration_ms
from quarterhour.errors import AnswerIsNo, PartUnreachable, QuarterhourError, WrongInput
from quarterhour.settings import load_settings
from schemas.decode import Rejected, parse_time_ms
from schemas.records import format_time_ms

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_DECIMAL = re.compile(r"[0-9]{1,13}(\.[0-9]{1,12})?")


def with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    """Do a command's work on the aggregator's store. Raises `QuarterhourError`."""
    dsn = load_settings().require_postgres_dsn()
    try:
        return asyncio.run(_with_store(dsn, work))
    except InvoicingError as error:
        raise translated(error) from error


def translated(error: InvoicingError) -> QuarterhourError:
    """An error of the aggregator as one of the command line, with its code."""
    if isinstance(error, StoreUnreachable):
        return PartUnreachable(str(error), code=error.code)
    kind = WrongInput if error.code.startswith(("wrong", "unknown")) else AnswerIsNo
    return kind(str(error), code=error.code)


async def _with_store(dsn: str, work: Callable[[Store], Awaitable[T]]) -> T:
    store = await Store.open(dsn)
    try:
        return await work(store)
    finally:
        await store.close()


class Checked(click.ParamType):
    """An option's text, which is read by a function; what that refuses is a wrong value of the option."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a default is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except (InvoicingError, ValueError) as error:
            self.fail(str(error), param, ctx)


def _time(text: str) -> int:
    try:
        return parse_time_ms(text)
    except Rejected:
        _refuse(f"{text!r} is not a time such as 2026-10-03T09:00:00Z")


def _past_time(text: str) -> int:
    at_ms = _time(text)
    if at_ms > now_ms():
        _refuse(f"{text!r} is in the future")
    return at_ms


def _positive_decimal(text: str) -> Decimal:
    number = _decimal(text)
    return number if number > 0 else _refuse(f"{text!r} is no amount above 0")


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        _refuse(f"{text!r} is not a decimal number such as 49.00")
    return Decimal(text)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


TIME = Checked("time", _time)
PAST_TIME = Checked("time", _past_time)
DURATION = Checked("duration", parse_duration_ms)
AMOUNT = Checked("amount", _positive_decimal)
PERCENT = Checked("percent", _decimal)


def actor_option(command: F) -> F:
    """Add `--actor`: who does it, as the history keeps it."""
    return click.option("--actor", default=_login_name, help="Who does it. Default: your login name.")(
        command
    )


def at_option(command: F) -> F:
    """Add `--at`, now or earlier; the command gets `at_ms`."""
    return click.option(
        "--at",
        "at_ms",
        type=PAST_TIME,
        default=now_ms,
        show_default=False,
        help="When it happened: RFC 3339 with an offset. Default: now.",
    )(command)


def now_ms() -> int:
    """Now, in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000


def time_text(at_ms: int | None) -> str | None:
    """A time as it is written outside."""
    return None if at_ms is None else format_time_ms(at_ms)


def percent_text(percent: Decimal) -> str:
    """A rate as it is written outside: 19, 8.875."""
    return f"{percent.normalize():f}"


def line_row(number: int, line: Line, currency: str) -> dict[str, Any]:
    """A line of an invoice for people and programs."""
    plan_id, plan_version = line.plan or (None, None)
    return {
        "line": number,
        "kind": line.kind,
        "basis": line.basis,
        "bot_id": line.bot_id,
        "plan": plan_id,
        "plan_version": plan_version,
        "from": time_text(line.during.from_ms) if line.during else None,
        "to": time_text(line.during.to_ms) if line.during else None,
        "quantity": line.quantity,
        "unit_price": None if line.unit_price is None else f"{line.unit_price:f}",
        "tax_percent": percent_text(line.tax_percent),
        "amount_minor": line.amount_minor,
        "currency": currency,
        "detail": line.detail,
    }


LINE_COLUMNS = ["line", "kind", "basis", "bot_id", "plan", "quantity", "unit_price", "tax_percent", "amount"]


def with_amounts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its amounts as people read them too: of `total_minor` that is `total`."""
    amounts = {
        name.removesuffix("_minor"): shown(value, row["currency"])
        for name, value in row.items()
        if name.endswith("_minor") and value is not None
    }
    return {**row, **amounts}


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise WrongInput("--actor is needed: this process has no login name") from None
