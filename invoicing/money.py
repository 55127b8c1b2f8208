"""Money: integers of a currency's minor units, the one rounding, and how amounts are written.

Everything between two roundings is an exact fraction. Nothing here knows a locale or the computer's settings.
"""

from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Final

from babel import Locale
from babel.numbers import get_territory_currencies

from invoicing.errors import InvoicingError

MOST_MINOR: Final = 2**53
"""Beyond it no amount is believed: it is also where others' numbers stop to be exact."""

# ISO 4217's, where they are not two. Babel's own are those that people use in cash, which is another thing.
_WITHOUT_MINOR: Final = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW")
    + ("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)
_IN_THOUSANDTHS: Final = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
# Tender somewhere since then: one that is given up stays known, for there are invoices in it.
_KNOWN_SINCE: Final = date(2020, 1, 1)
_MOST_DIGITS: Final = 40


def minor_digits(currency: str) -> int:
    """How many decimals the currency's amounts have."""
    if currency not in _known_currencies():
        raise InvoicingError(
            f"there is no currency {currency!r}: a code of ISO 4217 is needed, such as EUR",
            "unknown_currency",
        )
    if currency in _WITHOUT_MINOR:
        return 0
    return 3 if currency in _IN_THOUSANDTHS else 2


def rounded(amount: Fraction) -> int:
    """Round half away from zero: the one rounding of this product."""
    size = (2 * abs(amount.numerator) + amount.denominator) // (2 * amount.denominator)
    return -size if amount < 0 else size


def price_minor(price: Decimal, currency: str) -> int:
    """Give a price in major units as minor ones; one that is finer than they are is refused."""
    amount = charge(1, price, currency)
    if amount.denominator != 1:
        raise InvoicingError(
            f"{price} is finer than {currency} allows: {minor_digits(currency)} decimals at most",
            "wrong_price",
        )
    return amount.numerator


def charge(quantity: int, unit_price: Decimal, currency: str) -> Fraction:
    """Tell in minor units, and exactly, what so many cost at this price in major units."""
    # A Decimal of a few characters can stand for a number of more digits than memory holds.
    if not unit_price.is_finite() or abs(unit_price.adjusted()) > _MOST_DIGITS:
        raise InvoicingError(f"{unit_price} is no price: it must be a plain number", "wrong_price")
    return quantity * Fraction(unit_price) * _minor_per_major(currency)


def major(amount_minor: int, currency: str) -> Decimal:
    """Give an amount in major units, with all its decimals."""
    return Decimal(amount_minor).scaleb(-minor_digits(currency))


def shown(amount_minor: int, currency: str) -> str:
    """Write an amount the same on every machine: `1,234.50 EUR`, `-3 JPY`."""
    digits = minor_digits(currency)
    whole, part = divmod(abs(amount_minor), _minor_per_major(currency))
    decimals = f".{part:0{digits}d}" if digits else ""
    return f"{'-' if amount_minor < 0 else ''}{whole:,}{decimals} {currency}"


def _minor_per_major(currency: str) -> int:
    return int(10 ** minor_digits(currency))


@cache
def _known_currencies() -> frozenset[str]:
    return frozenset(
        currency
        for territory in Locale("en").territories
        for currency in get_territory_currencies(str(territory), _KNOWN_SINCE, date.max)
    )
