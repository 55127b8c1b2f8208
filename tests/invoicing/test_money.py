"""Minor units, the one rounding, and how an amount is written."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.errors import InvoicingError
from invoicing.money import charge, major, minor_digits, price_minor, rounded, shown


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("EUR", 2),
        ("USD", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("KWD", 3),
        ("ISK", 0),
        ("HUF", 2),
        ("IQD", 3),
        ("RSD", 2),
    ],
)
def test_minor_digits_are_those_of_iso_4217(currency, digits):
    assert minor_digits(currency) == digits


def test_a_currency_that_was_given_up_stays_readable_for_its_invoices():
    assert minor_digits("BGN") == minor_digits("HRK") == 2


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "XTS", "XAU", "ZZZ", "DEM", "€"])
def test_what_is_no_currency_of_today_is_refused(currency):
    with pytest.raises(InvoicingError) as caught:
        minor_digits(currency)
    assert caught.value.code == "unknown_currency"
    assert repr(currency) in str(caught.value)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("1/2", 1),
        ("-1/2", -1),
        ("3/2", 2),
        ("5/2", 3),
        ("-5/2", -3),
        ("49/100", 0),
        ("-49/100", 0),
        ("1/3", 0),
        ("2/3", 1),
    ],
)
def test_a_half_is_rounded_away_from_zero(amount, expected):
    assert rounded(Fraction(amount)) == expected


@given(st.fractions())
def test_rounding_is_to_the_nearest_and_the_same_on_both_sides_of_zero(amount):
    assert abs(rounded(amount) - amount) <= Fraction(1, 2)
    assert rounded(-amount) == -rounded(amount)


@given(st.integers(), st.integers(-(10**30), 10**30))
def test_a_whole_amount_is_not_rounded(amount, other):
    assert rounded(Fraction(amount)) == amount
    assert rounded(Fraction(other * 2 + 1, 2)) == (other + 1 if other >= 0 else other)


@pytest.mark.parametrize(
    ("price", "currency", "expected"),
    [
        ("49.00", "EUR", 4900),
        ("49", "EUR", 4900),
        ("0.5", "USD", 50),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
    ],
)
def test_a_price_becomes_minor_units(price, currency, expected):
    assert price_minor(Decimal(price), currency) == expected


@pytest.mark.parametrize(
    ("price", "currency"),
    [
        ("0.001", "EUR"),
        ("0.5", "JPY"),
        ("0.0001", "KWD"),
        ("NaN", "EUR"),
        ("Infinity", "EUR"),
        ("1E+99999999", "EUR"),
        ("1E-99999999", "EUR"),
    ],
)
def test_a_price_that_minor_units_cannot_hold_is_refused(price, currency):
    with pytest.raises(InvoicingError) as caught:
        price_minor(Decimal(price), currency)
    assert caught.value.code == "wrong_price"


def test_a_charge_is_exact_however_fine_the_price():
    assert charge(3, Decimal("0.00000001"), "EUR") == Fraction(3, 10**6)
    assert charge(10**9, Decimal("0.1234567"), "JPY") == 123_456_700
    assert (
        charge(1, Decimal("0.1234567890123456789012345678901"), "JPY") * 10**31
        == 1234567890123456789012345678901
    )


@pytest.mark.parametrize(
    ("amount", "currency", "expected"), [(4900, "EUR", "49.00"), (-3, "JPY", "-3"), (1, "KWD", "0.001")]
)
def test_major_units_have_all_their_decimals(amount, currency, expected):
    assert str(major(amount, currency)) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (123450, "EUR", "1,234.50 EUR"),
        (-3, "JPY", "-3 JPY"),
        (0, "USD", "0.00 USD"),
        (-5, "EUR", "-0.05 EUR"),
        (-123456, "EUR", "-1,234.56 EUR"),
        (1234567, "KWD", "1,234.567 KWD"),
        (1234567, "JPY", "1,234,567 JPY"),
    ],
)
def test_amounts_are_written_the_same_everywhere(amount, currency, expected):
    assert shown(amount, currency) == expected
