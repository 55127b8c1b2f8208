"""`quarterhour invoices`: the aggregator's run, its invoices, and what was paid of them."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from invoicing import reading
from invoicing.documents.tables import lines_csv, records_csv
from invoicing.money import price_minor, shown
from invoicing.paying import Balance, give_credit, mark_paid
from invoicing.reading import InvoiceDetails
from invoicing.run import Run, Summary
from invoicing.store.connecting import Store
from invoicing.store.reports import Invoice, InvoicedRecord, Payment, Unbilled
from invoicing.voiding import void
from quarterhour.aggregator import (
    AMOUNT,
    DURATION,
    LINE_COLUMNS,
    PAST_TIME,
    actor_option,
    at_option,
    line_row,
    now_ms,
    time_text,
    with_amounts,
    with_store,
)
from quarterhour.errors import AnswerIsNo, WrongInput
from quarterhour.output import TABLE, emit, emit_object, emit_summary, format_option
from quarterhour.settings import load_settings

SHOWN = [
    *(
        "invoice",
        "account_id",
        "kind",
        "status",
        "held_code",
        "from",
        "to",
        "total",
        "paid",
        "issued_at",
        "due_at",
    ),
]
SHOWN_HELD = ["what", "account_id", "bot_id", "code", "detail", "from", "to", "sessions", "invoice"]
SHOWN_RECORDS = ["line", "change", "kind", "bot_id", "session_id", "started_at", "subject_id"]
SHOWN_PAYMENTS = ["reference", "amount", "actor", "paid_at"]


@click.group()
def command() -> None:
    """Run the invoice aggregator; list, show, download and settle invoices.

    Example:

    \b
      quarterhour invoices run
    """


@command.command()
@click.option("--as-of", "as_of_ms", type=PAST_TIME, help="As if it were this time. Default: now.")
@click.option(
    "--every", "every_ms", type=DURATION, help="Do it again after this time, such as 1h, until stopped."
)
@format_option
def run(as_of_ms: int | None, every_ms: int | None, output_format: str) -> None:
    """Run the aggregator: end periods, compute drafts, issue invoices.

    It reads the change feed on, and issues what is over for longer than QUARTERHOUR_INVOICE_GRACE, once the
    stream has passed the period's end and no session of it is open. Any number of runs may go at once, and
    one that was killed is repaired by the next. Status 1 if an invoice failed by an internal error; with
    --every that is told, and the next run tries again.

    Example:

    \b
      quarterhour invoices run --every 1h
    """
    if as_of_ms is not None and every_ms is not None:
        raise click.UsageError("--as-of and --every do not go together: every run is as of its own time")
    grace_ms = load_settings().invoice_grace_ms

    async def once(store: Store) -> None:
        moment_ms = now_ms() if as_of_ms is None else as_of_ms
        summary = await Run(store, moment_ms, grace_ms).all()
        emit_summary(output_format, _summary(moment_ms, summary))
        sys.stdout.flush()
        if not summary.failures:
            return
        failed = AnswerIsNo("; ".join(summary.failures), code="internal_error")
        if every_ms is None:
            raise failed
        click.echo(f"{failed.code}: {failed}", err=True)

    async def again_and_again(store: Store) -> None:
        await once(store)
        while every_ms is not None:
            await asyncio.sleep(every_ms / 1000)
            await once(store)

    with_store(again_and_again)


@command.command("list")
@click.option("--account", help="Those of this account only.")
@click.option(
    "--status", type=click.Choice(["draft", "final", "paid", "void"]), help="Those of this status only."
)
@click.option("--held", is_flag=True, help="What waits for somebody instead, with the reason.")
@format_option
def list_(account: str | None, status: str | None, held: bool, output_format: str) -> None:
    """List invoices, the newest period first.

    With --held: drafts that cannot become final, and the records that no plan covers, each with its reason.
    Amounts in *_minor are in minor units of the currency; times are UTC, periods half-open.

    Example:

    \b
      quarterhour invoices list --account acme --status final
    """
    if not held:
        found = with_store(lambda store: reading.invoices(store, account, status))
        emit(output_format, _as_shown(output_format, map(_row, found)), SHOWN)
        return
    if status not in (None, "draft"):
        raise click.UsageError("--held lists drafts only")
    drafts, unbilled = with_store(lambda store: reading.held(store, account))
    emit(output_format, [*map(_held_row, drafts), *map(_unbilled_row, unbilled)], SHOWN_HELD)


@command.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--records", is_flag=True, help="The session records behind each line too.")
@format_option
def show(invoice_id: str, records: bool, output_format: str) -> None:
    """Show an invoice with its lines and payments.

    ID is its number, or the id of a draft. With --records every line leads to the ids of the records that it
    bills, as they were invoiced.

    Example:

    \b
      quarterhour invoices show EX-2026-000001 --records
    """
    details, behind = with_store(lambda store: _details(store, invoice_id, records))
    row = _details_row(details, behind if records else None)
    if output_format == TABLE:
        _show(row)
    else:
        emit_object(row)


@command.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(["pdf", "csv"]), default="pdf", help="Default: pdf.")
@click.option("--records", is_flag=True, help="With csv: the records behind the lines, not the lines.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; - is standard output. Default: the invoice's number, in this folder.",
)
def download(invoice_id: str, form: str, records: bool, output: Path | None) -> None:
    """Write an issued invoice to a file: the PDF that was stored, or CSV.

    The PDF is checked against the hash that was stored with it. CSV has amounts in major units, times in UTC.

    Example:

    \b
      quarterhour invoices download EX-2026-000001 --format csv --records --output records.csv
    """
    if records and form == "pdf":
        raise click.UsageError("--records goes with --format csv")
    name, content = with_store(lambda store: _content(store, invoice_id, form, records))
    suffix = "-records.csv" if records else f".{form}"
    _write(output or Path(name.replace("/", "-") + suffix), content)


def payment_options(act: Any) -> Any:
    """Add what was paid, by which reference, when, and who says so."""
    act = click.argument("number", metavar="ID")(at_option(actor_option(format_option(act))))
    act = click.option("--reference", required=True, help="The payment's own; the same one counts once.")(act)
    return click.option("--amount", type=AMOUNT, required=True, help="In major units, such as 49.00.")(act)


@command.command("mark-paid")
@payment_options
def mark_paid_(
    number: str, amount: Decimal, reference: str, at_ms: int, actor: str, output_format: str
) -> None:
    """Count a payment towards an invoice, in part or in full or more.

    The same reference with the same amount is the same payment, and changes nothing.

    Example:

    \b
      quarterhour invoices mark-paid EX-2026-000001 --amount 120.00 --reference bank-4711
    """
    balance = with_store(lambda store: _pay(store, number, amount, 1, reference, at_ms, actor))
    _show_balance(balance, output_format)


@command.command()
@payment_options
def refund(number: str, amount: Decimal, reference: str, at_ms: int, actor: str, output_format: str) -> None:
    """Count a refund of what was paid of an invoice.

    Example:

    \b
      quarterhour invoices refund EX-2026-000001 --amount 20.00 --reference bank-4712
    """
    balance = with_store(lambda store: _pay(store, number, amount, -1, reference, at_ms, actor))
    _show_balance(balance, output_format)


@command.command("void")
@click.argument("number", metavar="ID")
@click.option("--reason", required=True, help="Why; it stands in the account's history.")
@at_option
@actor_option
@format_option
def void_(number: str, reason: str, at_ms: int, actor: str, output_format: str) -> None:
    """Make an invoice void: a credit note is issued, and the next run invoices its period anew.

    Example:

    \b
      quarterhour invoices void EX-2026-000001 --reason "wrong address"
    """
    note = with_store(lambda store: void(store, number, reason, at_ms=at_ms, actor=actor))
    emit(output_format, [{"invoice": number, "status": "void", "credit_note": note}])


@command.command()
@click.option("--account", required=True, help="The account_id of who gets it.")
@click.option("--amount", type=AMOUNT, required=True, help="In major units, net of tax.")
@click.option("--reason", required=True, help="Why; it stands on the invoice.")
@click.option("--reference", required=True, help="The credit's own; the same one counts once.")
@at_option
@actor_option
@format_option
def credit(
    account: str, amount: Decimal, reason: str, reference: str, at_ms: int, actor: str, output_format: str
) -> None:
    """Give an account a credit: a line of its next invoice.

    Example:

    \b
      quarterhour invoices credit --account acme --amount 10.00 --reason "late start" --reference ticket-7
    """
    currency = with_store(lambda store: _credit(store, account, amount, reason, reference, at_ms, actor))
    row = {"account_id": account, "credit": shown(price_minor(amount, currency), currency), "reason": reason}
    emit(output_format, [row])


async def _details(store: Store, name: str, records: bool) -> tuple[InvoiceDetails, list[InvoicedRecord]]:
    return await reading.invoice(store, name), await reading.records(store, name) if records else []


async def _content(store: Store, name: str, form: str, records: bool) -> tuple[str, bytes]:
    issued = await reading.document(store, name)
    number = issued.document.number
    if form == "pdf":
        return number, issued.pdf
    if not records:
        return number, lines_csv(issued.document).encode()
    rows = [_record_row(number, record) for record in await reading.records(store, name)]
    return number, "".join(records_csv(rows)).encode()


async def _pay(
    store: Store, number: str, amount: Decimal, sign: int, reference: str, at_ms: int, actor: str
) -> Balance:
    currency = (await reading.invoice(store, number)).invoice.currency
    amount_minor = sign * price_minor(amount, currency)
    return await mark_paid(store, number, amount_minor, reference, at_ms=at_ms, actor=actor)


async def _credit(
    store: Store, account_id: str, amount: Decimal, reason: str, reference: str, at_ms: int, actor: str
) -> str:
    currency = (await reading.account(store, account_id)).currency
    amount_minor = price_minor(amount, currency)
    await give_credit(store, account_id, amount_minor, reason, reference, at_ms=at_ms, actor=actor)
    return currency


def _summary(as_of_ms: int, summary: Summary) -> dict[str, object]:
    return {
        "as_of": time_text(as_of_ms),
        "accounts": summary.accounts,
        "periods_ended": summary.periods_ended,
        "issued": summary.issued,
        "held": dict(summary.held),
        "failures": len(summary.failures),
    }


def _as_shown(output_format: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [with_amounts(row) for row in rows] if output_format == TABLE else list(rows)


def _row(invoice: Invoice) -> dict[str, Any]:
    return {
        "invoice": invoice.name,
        "account_id": invoice.account_id,
        "kind": invoice.kind,
        "status": invoice.status,
        "held_code": invoice.held_code,
        "held_detail": invoice.held_detail,
        "from": time_text(invoice.during.from_ms),
        "to": time_text(invoice.during.to_ms),
        "total_minor": invoice.total_minor,
        "paid_minor": invoice.paid_minor,
        "currency": invoice.currency,
        "issued_at": time_text(invoice.issued_ms),
        "due_at": time_text(invoice.due_ms),
        "corrects": invoice.corrects,
    }


def _held_row(draft: Invoice) -> dict[str, Any]:
    return {
        "what": "draft",
        "account_id": draft.account_id,
        "bot_id": None,
        "code": draft.held_code,
        "detail": draft.held_detail,
        "from": time_text(draft.during.from_ms),
        "to": time_text(draft.during.to_ms),
        "sessions": None,
        "invoice": draft.name,
    }


def _unbilled_row(records: Unbilled) -> dict[str, Any]:
    return {
        "what": "records",
        "account_id": records.account_id,
        "bot_id": records.bot_id,
        "code": records.code,
        "detail": "no plan covers them",
        "from": time_text(records.during.from_ms),
        "to": time_text(records.during.to_ms),
        "sessions": records.sessions,
        "invoice": None,
    }


def _details_row(details: InvoiceDetails, behind: list[InvoicedRecord] | None) -> dict[str, Any]:
    row = _row(details.invoice)
    currency = details.invoice.currency
    lines = [line_row(number, line, currency) for number, line in enumerate(details.lines, 1)]
    if behind is not None:
        by_line = defaultdict(list)
        for record in behind:
            by_line[record.line].append(_record_row(row["invoice"], record, time_text))
        lines = [{**line, "records": by_line[line["line"]]} for line in lines]
    return {**row, "lines": lines, "payments": [_payment_row(one, currency) for one in details.payments]}


def _record_row(
    number: str, record: InvoicedRecord, written: Callable[[int], Any] = lambda time_ms: time_ms
) -> dict[str, Any]:
    return {
        "invoice": number,
        "line": record.line,
        "change": record.change,
        "kind": record.kind,
        "bot_id": record.bot_id,
        "session_id": str(record.session_id),
        "started_at": written(record.started_ms),
        "ended_at": written(record.ended_ms),
        "bot_ms": record.bot_ms,
        "agent_ms": record.agent_ms,
        "user_id": record.user_id,
        "channel": record.channel,
        "subject_id": record.subject_id,
        "position": record.position,
        "revision": record.revision,
    }


def _payment_row(payment: Payment, currency: str) -> dict[str, Any]:
    return {
        "reference": payment.reference,
        "amount_minor": payment.amount_minor,
        "currency": currency,
        "actor": payment.actor,
        "paid_at": time_text(payment.paid_ms),
    }


def _show(row: dict[str, Any]) -> None:
    summary = with_amounts({name: value for name, value in row.items() if not isinstance(value, list)})
    emit(TABLE, [summary], SHOWN)
    emit(TABLE, [with_amounts(line) for line in row["lines"]], LINE_COLUMNS)
    if row["payments"]:
        emit(TABLE, [with_amounts(payment) for payment in row["payments"]], SHOWN_PAYMENTS)
    if records := [record for line in row["lines"] for record in line.get("records", ())]:
        emit(TABLE, records, SHOWN_RECORDS)


def _show_balance(balance: Balance, output_format: str) -> None:
    row = {
        "invoice": balance.number,
        "status": balance.status,
        "total_minor": balance.total_minor,
        "paid_minor": balance.paid_minor,
        "currency": balance.currency,
    }
    emit(output_format, _as_shown(output_format, [row]), ["invoice", "status", "total", "paid"])


def _write(file: Path, content: bytes) -> None:
    if str(file) == "-":
        click.get_binary_stream("stdout").write(content)
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise WrongInput(f"cannot write {file}: {error}") from None
    click.echo(f"wrote {file}", err=True)
