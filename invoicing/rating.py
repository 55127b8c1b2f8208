"""Rating: from the terms of a slice and its numbers of sessions to lines, and from lines to tax and total.

Pure and exact: each line is rounded once, and so is each tax line; nothing else is. Lines of a kind bill the
sessions of their slice from the first one on, without a gap and without an overlap. Numbers that nobody can
have used, and amounts that nobody can owe, hold the invoice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Final

from invoicing.errors import Held
from invoicing.model import Basis, Line, LineKind, SessionKind, Slice
from invoicing.money import MOST_MINOR, charge, major, rounded

MOST_SESSIONS: Final = 10**9
"""Of a kind in a slice: thirty a second for a year. More is taken for a mistake."""

_Part = tuple[Basis, int, int | None, Decimal | None]
"""Sessions of a slice from one to before another (None: all after it), and what each costs."""


def rate(part: Slice, sessions: Mapping[SessionKind, int], tax_percent: Decimal) -> list[Line]:
    """Give the lines of a slice: its price, then its sessions by kind. Raises `Held`."""
    lines = [_price_line(part, tax_percent)]
    for kind in SessionKind:
        lines += _session_lines(part, kind, _believed(part, kind, sessions.get(kind, 0)), tax_percent)
    return lines


def allowance(part: Slice, kind: SessionKind) -> int:
    """Tell how many sessions are included in a slice: its share of the period's, rounded up."""
    return ceil(part.terms.included[kind] * part.share)


def with_tax(lines: Iterable[Line]) -> list[Line]:
    """Add a tax line for each rate, of the sum of its lines; tax lines that were there are replaced."""
    net = [line for line in lines if line.kind is not LineKind.TAX]
    by_rate: defaultdict[Decimal, int] = defaultdict(int)
    for line in net:
        by_rate[line.tax_percent] += line.amount_minor
    return net + [_tax_line(percent, by_rate[percent]) for percent in sorted(by_rate) if percent]


def total(lines: Iterable[Line]) -> int:
    """Add up all lines, tax included. Raises `Held` where nobody can owe that."""
    return _payable(sum(line.amount_minor for line in lines))


def _price_line(part: Slice, tax_percent: Decimal) -> Line:
    terms = part.terms
    line = Line(
        kind=LineKind.PRICE,
        basis=Basis.TRIAL,
        tax_percent=tax_percent,
        amount_minor=0,
        quantity=1,
        bot_id=part.bot_id,
        plan=(terms.plan_id, terms.version),
        during=part.during,
    )
    if part.is_trial:
        return line
    return replace(
        line,
        basis=Basis.PRICE,
        amount_minor=_payable(rounded(terms.price_minor * part.share)),
        unit_price=major(terms.price_minor, terms.currency),
        detail="" if part.share == 1 else _share_of(part),
    )


def _share_of(part: Slice) -> str:
    return f"{part.during.length_ms // 1000} of {part.whole.length_ms // 1000} seconds"


def _session_lines(part: Slice, kind: SessionKind, sessions: int, tax_percent: Decimal) -> Iterator[Line]:
    for basis, first, end, unit_price in _parts(part, kind):
        quantity = min(sessions, sessions if end is None else end) - first
        if quantity <= 0:
            continue
        amount = charge(quantity, unit_price, part.terms.currency) if unit_price else Fraction(0)
        yield Line(
            kind=LineKind(kind),
            basis=basis,
            tax_percent=tax_percent,
            amount_minor=_payable(rounded(amount)),
            quantity=quantity,
            bot_id=part.bot_id,
            plan=(part.terms.plan_id, part.terms.version),
            during=part.during,
            unit_price=unit_price,
            first=first,
        )


def _parts(part: Slice, kind: SessionKind) -> Iterator[_Part]:
    if part.is_trial:
        yield Basis.TRIAL, 0, None, None
        return
    included = allowance(part, kind)
    yield Basis.INCLUDED, 0, included, None
    tiers = part.terms.tiers.get(kind, ())
    if not tiers:
        yield Basis.BEYOND, included, None, None
    first = included
    for tier in tiers:
        end = None if tier.up_to is None else included + tier.up_to
        yield Basis.TIER, first, end, tier.unit_price
        first = first if end is None else end


def _tax_line(percent: Decimal, net_minor: int) -> Line:
    return Line(
        kind=LineKind.TAX,
        basis=Basis.OTHER,
        tax_percent=percent,
        amount_minor=_payable(rounded(net_minor * Fraction(percent) / 100)),
    )


def _believed(part: Slice, kind: SessionKind, sessions: int) -> int:
    if sessions < 0:
        raise Held(
            f"{sessions} {kind} sessions of bot {part.bot_id}: there is no such number", "negative_quantity"
        )
    if sessions > MOST_SESSIONS:
        raise Held(
            f"{sessions} {kind} sessions of bot {part.bot_id}: more than {MOST_SESSIONS} are not believed",
            "absurd_quantity",
        )
    return sessions


def _payable(amount_minor: int) -> int:
    if abs(amount_minor) > MOST_MINOR:
        raise Held(f"{amount_minor} minor units: more than {MOST_MINOR} are not believed", "absurd_amount")
    return amount_minor
