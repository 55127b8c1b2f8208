"""The shapes that pass between the modules of the aggregator: plain values, times in ms since 1970 UTC.

Money is an integer of the currency's minor units; prices per session are `Decimal` in major units, for they
may be finer than a minor unit. Nothing here does I/O or knows a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Literal

Unit = Literal["month", "year"]


class SessionKind(StrEnum):
    """What a session record bills: billing-rules.md sections 6 and 7."""

    USAGE = "usage"
    ALERT = "alert"


class LineKind(StrEnum):
    """What a line of an invoice is for."""

    PRICE = "price"
    USAGE = "usage"
    ALERT = "alert"
    ADJUSTMENT = "adjustment"
    CREDIT = "credit"
    TAX = "tax"


class Basis(StrEnum):
    """Why a line costs what it costs."""

    PRICE = "price"
    """The plan's price for its share of the period."""
    TRIAL = "trial"
    """Free: the slice is a trial."""
    INCLUDED = "included"
    """Free: within the allowance."""
    TIER = "tier"
    """Beyond the allowance, at a tier's price."""
    BEYOND = "beyond"
    """Beyond the allowance of a plan that sells none: not charged."""
    OTHER = "other"
    """Adjustments, credits and tax."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open interval [from, to) in ms since 1970 UTC."""

    from_ms: int
    to_ms: int

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.to_ms - self.from_ms


@dataclass(frozen=True, slots=True)
class Tier:
    """Sessions beyond the allowance up to this many in all (None: without end), each at this price."""

    up_to: int | None
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan version says of money."""

    plan_id: str
    version: int
    currency: str
    unit: Unit
    price_minor: int
    included: Mapping[SessionKind, int]
    tiers: Mapping[SessionKind, tuple[Tier, ...]]
    """Empty for a kind that may not go beyond its allowance."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One bot under one plan version, cut to one billing period."""

    bot_id: str
    terms: Terms
    during: Span
    whole: Span
    """The whole billing period, of which prices and allowances are shares."""
    is_trial: bool

    @property
    def share(self) -> Fraction:
        """Its seconds in those of the whole period."""
        return Fraction(self.during.length_ms // 1000, self.whole.length_ms // 1000)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice.

    `first` and `quantity` say which sessions of its slice and kind it bills: those from the first'th on (from
    0), in order of (`started_at`, `session_id`).
    """

    kind: LineKind
    basis: Basis
    tax_percent: Decimal
    amount_minor: int
    quantity: int = 0
    bot_id: str | None = None
    plan: tuple[str, int] | None = None
    during: Span | None = None
    unit_price: Decimal | None = None
    first: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """A seller or a buyer as a document names it."""

    name: str
    address: tuple[str, ...]
    country: str
    tax_id: str


@dataclass(frozen=True, slots=True)
class Document:
    """All that an invoice's PDF and its lines' CSV show; the same document gives the same bytes for ever."""

    number: str
    kind: Literal["period", "adjustment", "credit_note"]
    corrects: str | None
    """The number of the invoice that a credit note takes back, or that an adjustment corrects."""
    issued_ms: int
    due_ms: int
    during: Span
    time_zone: str
    """The account's, in which times are shown."""
    currency: str
    seller: Party
    buyer: Party
    account_id: str
    bot_names: Mapping[str, str]
    plan_names: Mapping[str, str]
    lines: tuple[Line, ...]
    total_minor: int
    paid_minor: int = 0
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells: numbers of invoices are given by seller and year of its time zone."""

    seller_id: str
    party: Party
    time_zone: str
    number_prefix: str
    payment_days: int


@dataclass(frozen=True, slots=True)
class Account:
    """Who buys. An Enterprise account is metered and never invoiced."""

    account_id: str
    seller_id: str
    party: Party
    tax_percent: Decimal
    currency: str
    plan_kind: Literal["standard", "enterprise"]
    zones: tuple[tuple[int, str], ...] = ()
    """Time zones, each from when on (ms)."""
