"""The PDF of an invoice: PDF/A-2a, tagged, by Typst; the same document gives the same bytes in every process.

This module puts in words what a document says; `invoice.typ` lays it out and reckons nothing. Names go to
Typst as JSON, so they are text there and never markup. Nothing is read but the template and the fonts.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Any, Final

import typst
from babel import Locale

from invoicing.documents.fonts import FONTS, folders, not_shown
from invoicing.errors import Held
from invoicing.model import Basis, Document, Line, LineKind, Party, Span
from invoicing.money import minor_digits, shown
from invoicing.zones import zone

_TITLES: Final = {"period": "Invoice", "adjustment": "Adjustment invoice", "credit_note": "Credit note"}
_KINDS: Final = {
    LineKind.PRICE: "Plan price",
    LineKind.USAGE: "Usage sessions",
    LineKind.ALERT: "Alert sessions",
    LineKind.ADJUSTMENT: "Adjustment",
    LineKind.CREDIT: "Credit",
    LineKind.TAX: "Tax",
}
_BASES: Final = {
    Basis.PRICE: "",
    Basis.TRIAL: ", trial",
    Basis.INCLUDED: ", included",
    Basis.TIER: " beyond the allowance",
    Basis.BEYOND: " beyond the allowance, not charged",
    Basis.OTHER: "",
}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Where Han characters are drawn in another way than in Japan.
_HAN: Final = {
    "CN": ("zh", "CN"),
    "SG": ("zh", "CN"),
    "TW": ("zh", "TW"),
    "HK": ("zh", "HK"),
    "MO": ("zh", "HK"),
    "KR": ("ko", "KR"),
}
_compiling: Final = Lock()


def render_pdf(document: Document) -> bytes:
    """Print the document.

    Raises `Held`: `font_missing` where a text has characters that no font of ours shows, or where a font is
    not installed; `wrong_total` where the total is not the sum of the lines.
    """
    if sum(line.amount_minor for line in document.lines) != document.total_minor:
        raise Held(f"the total of {document.number} is not the sum of its lines", "wrong_total")
    page = _page(document)
    for field, text in _texts(page):
        if characters := not_shown(text):
            codes = ", ".join(f"U+{ord(character):04X}" for character in characters)
            raise Held(f"no font shows {codes} in {field}, {text!r}: change it there", "font_missing")
    return _compiled(page, document.issued_ms // 1000)


def _compiled(page: dict[str, Any], timestamp: int) -> bytes:
    compiler, template = _compiler()
    # One compilation at a time: a compiler keeps the last one's input.
    with _compiling:
        pdf = compiler.compile(
            input=template,
            format="pdf",
            sys_inputs={"page": json.dumps(page)},
            pdf_standards=["a-2a"],
            timestamp=timestamp,
        )
    assert isinstance(pdf, bytes)
    return pdf


@cache
def _compiler() -> tuple[typst.Compiler, bytes]:
    fonts = typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[str(folder) for folder in folders()],
    )
    template = files("invoicing.documents").joinpath("invoice.typ").read_bytes()
    return typst.Compiler(template, font_paths=fonts), template


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Every text of the page, with the name of its field."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{field} {key}".strip())
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value, 1):
            yield from _texts(inner, f"{field} {number}")


def _page(document: Document) -> dict[str, Any]:
    """All that the template prints, as text."""
    return {
        "fonts": [font.family for font in FONTS],
        "title": _TITLES[document.kind],
        "number": document.number,
        "seller": _party(document.seller),
        "buyer": _party(document.buyer),
        "facts": list(_facts(document)),
        "currency": document.currency,
        "bots": _bots(document),
        "totals": list(_totals(document)),
        "balance": _balance(document),
        "notes": document.notes,
    }


def _party(party: Party) -> dict[str, Any]:
    language, region = _HAN.get(party.country, ("ja", "JP"))
    country = Locale("en").territories.get(party.country, party.country)
    return {
        "name": party.name,
        "address": (*party.address, country),
        "tax_id": party.tax_id,
        "language": language,
        "region": region,
    }


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    local = zone(document.time_zone)
    yield "Number", document.number
    yield "Issue date", _day(_at(document.issued_ms, local))
    if document.kind != "credit_note":
        yield "Due date", _day(_at(document.due_ms, local))
    if document.corrects is not None:
        yield "Corrects invoice", document.corrects
    yield "Validity period", _period(document.during, local)
    yield "Time zone", document.time_zone
    yield "Account", document.account_id


def _bots(document: Document) -> list[dict[str, Any]]:
    """The lines by bot, in the order in which bots are first met; those of no bot come last."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for line in document.lines:
        if line.kind is not LineKind.TAX:
            groups.setdefault(line.bot_id or "", []).append(_line(line, document))
    without_bot = groups.pop("", None)
    named = [
        {"name": document.bot_names.get(bot_id, bot_id), "id": bot_id, "lines": lines}
        for bot_id, lines in groups.items()
    ]
    return named + ([{"name": "Account", "id": "", "lines": without_bot}] if without_bot else [])


def _line(line: Line, document: Document) -> dict[str, Any]:
    plan_id = line.plan[0] if line.plan else ""
    remarks = [line.detail] if line.detail else []
    if line.during is not None and line.during != document.during:
        remarks.append(_period(line.during, zone(document.time_zone)))
    return {
        "what": _KINDS[line.kind] + _BASES[line.basis],
        "remarks": remarks,
        "plan": document.plan_names.get(plan_id, plan_id),
        "tax": _percent(line.tax_percent),
        "quantity": f"{line.quantity:,}" if line.quantity else "",
        "unit_price": "" if line.unit_price is None else _price(line.unit_price, document.currency),
        "amount": _amount(line.amount_minor, document.currency),
    }


def _totals(document: Document) -> Iterator[tuple[str, str]]:
    taxes = [line for line in document.lines if line.kind is LineKind.TAX]
    before_tax_minor = document.total_minor - sum(line.amount_minor for line in taxes)
    yield "Subtotal", shown(before_tax_minor, document.currency)
    for tax in taxes:
        base = shown(_base_minor(document, tax.tax_percent), document.currency)
        yield f"Tax {_percent(tax.tax_percent)} of {base}", shown(tax.amount_minor, document.currency)
    yield "Total", shown(document.total_minor, document.currency)
    yield "Amount paid", shown(document.paid_minor, document.currency)


def _balance(document: Document) -> tuple[str, str]:
    due_minor = document.total_minor - document.paid_minor
    label = "Amount due" if due_minor >= 0 else "Balance in your favour"
    return label, shown(abs(due_minor), document.currency)


def _base_minor(document: Document, percent: Decimal) -> int:
    return sum(
        line.amount_minor
        for line in document.lines
        if line.kind is not LineKind.TAX and line.tax_percent == percent
    )


def _amount(amount_minor: int, currency: str) -> str:
    return shown(amount_minor, currency).removesuffix(f" {currency}")


def _price(price: Decimal, currency: str) -> str:
    """A price with all its decimals, and with those of the currency at least."""
    exponent = price.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{price:,.{max(minor_digits(currency), -exponent)}f}"


def _percent(percent: Decimal) -> str:
    return f"{percent.normalize():f} %"


def _at(time_ms: int, local: tzinfo) -> datetime:
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(local)


def _day(when: datetime) -> str:
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}"


def _period(during: Span, local: tzinfo) -> str:
    """Whole days by the first and the last one; else from when until when."""
    first, end = _at(during.from_ms, local), _at(during.to_ms, local)
    if not (_begins_day(first) and _begins_day(end)):
        return f"{_day(first)} {_clock(first)} until {_day(end)} {_clock(end)} (exclusive)"
    last = end - timedelta(days=1)
    return _day(first) if first.date() == last.date() else f"{_day(first)} to {_day(last)}"


def _begins_day(when: datetime) -> bool:
    return (when.hour, when.minute, when.second, when.fold) == (0, 0, 0, 0)


def _clock(when: datetime) -> str:
    """The time of day; with its offset if the clock shows it twice that day."""
    is_twice = when.utcoffset() != when.replace(fold=1 - when.fold).utcoffset()
    return when.strftime("%H:%M:%S").removesuffix(":00") + (when.strftime(" UTC%z") if is_twice else "")
