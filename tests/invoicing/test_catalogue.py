"""The catalogue: the one shipped, mistakes by plan and field, and what makes two plans the same."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoicing.catalogue import fingerprint, is_upgrade, plan_of, read_catalogue, shipped
from invoicing.errors import WrongCatalogue
from invoicing.model import SessionKind, Terms, Tier

SELLER = """
[seller]
seller_id = "acme"
name = "Acme GmbH"
address = ["Musterstraße 1", "10115 Berlin"]
country = "DE"
tax_id = "DE000000000"
time_zone = "Europe/Berlin"
number_prefix = "AC"
payment_days = 14
"""
FREE = """
[[plan]]
id = "free"
version = 1
name = "Free"
kind = "free"
currency = "EUR"
unit = "month"
included = { usage = 10, alert = 0 }
may_go_beyond = false
offerings = [{ name = "Bots", value = "1" }, { name = "Support", value = "none" }]
"""
PAID = """
[[plan]]
id = "paid"
version = 3
name = "Paid"
kind = "paid"
currency = "EUR"
unit = "month"
price = "49.00"
included = { usage = 100, alert = 1000 }
may_go_beyond = true
trial_days = 14
after_trial = "expired"
offerings = [{ name = "Bots", value = "9" }, { name = "Support", value = "mail" }]
[[plan.tiers.usage]]
up_to = 1000
price = "0.20"
[[plan.tiers.usage]]
price = "0.1234"
[[plan.tiers.alert]]
price = "0"
"""
TEXT = SELLER + FREE + PAID


def test_the_shipped_catalogue_has_the_plans_of_the_domain():
    catalogue = read_catalogue(shipped())
    assert [(plan.id, plan.kind, plan.currency) for plan in catalogue.plans] == [
        ("free", "free", "USD"),
        ("standard", "paid", "USD"),
        ("advanced", "paid", "USD"),
        ("enterprise", "contract", "USD"),
    ]
    assert [plan.id for plan in catalogue.plans if plan.trial_days] == ["standard"]
    free, standard, advanced, _ = (plan.terms for plan in catalogue.plans)
    assert is_upgrade(free, standard)
    assert is_upgrade(standard, advanced)


def test_the_terms_are_what_the_file_says():
    free, paid = (plan.terms for plan in read_catalogue(TEXT).plans)
    assert (free.price_minor, free.tiers) == (0, {})
    assert paid == Terms(
        plan_id="paid",
        version=3,
        currency="EUR",
        unit="month",
        price_minor=4900,
        included={SessionKind.USAGE: 100, SessionKind.ALERT: 1000},
        tiers={
            SessionKind.USAGE: (Tier(1000, Decimal("0.20")), Tier(None, Decimal("0.1234"))),
            SessionKind.ALERT: (Tier(None, Decimal(0)),),
        },
    )


def test_the_seller_is_what_the_file_says():
    seller = read_catalogue(TEXT).seller
    assert (seller.seller_id, seller.time_zone, seller.number_prefix) == ("acme", "Europe/Berlin", "AC")
    assert (seller.party.name, seller.party.country, seller.payment_days) == ("Acme GmbH", "DE", 14)
    assert seller.party.address == ("Musterstraße 1", "10115 Berlin")


# What is replaced in the file, by what, and what is then said.
MISTAKES = [
    ('price = "49.00"\n', "", "plan 'paid' version 3: price: a paid plan needs one"),
    ('"49.00"', "49.0", "plan 'paid' version 3: price: 49.0: a decimal number in quotes is allowed"),
    ('"49.00"', "49", "plan 'paid' version 3: price: 49: a decimal number in quotes is allowed"),
    ('"49.00"', '"-49"', "plan 'paid' version 3: price: '-49': a decimal number in quotes is allowed"),
    ('"49.00"', '"NaN"', "plan 'paid' version 3: price: 'NaN': a decimal number"),
    ('"49.00"', '"1e3"', "plan 'paid' version 3: price: '1e3': a decimal number"),
    ('"49.00"', '"49,00"', "plan 'paid' version 3: price: '49,00': a decimal number"),
    ('"49.00"', '"٤٩"', "plan 'paid' version 3: price: '٤٩': a decimal number"),
    ('"49.00"', '"49.00\\n"', "plan 'paid' version 3: price: '49.00\\n': a decimal number"),
    ('"49.00"', '"1000000000001"', 'from "0" to "1000000000000"'),
    ('"49.00"', '"49.001"', "plan 'paid' version 3: price: 49.001 is finer than EUR allows: 2 decimals"),
    (
        "may_go_beyond = false",
        'price = "0"\nmay_go_beyond = false',
        "plan 'free' version 1: price: a free plan has none",
    ),
    (
        'kind = "free"',
        'kind = "contract"\nprice = "1"',
        "plan 'free' version 1: price: a contract plan has none",
    ),
    (
        'kind = "free"',
        'kind = "gratis"',
        "plan 'free' version 1: kind: Input should be 'free', 'paid' or 'contract'",
    ),
    ('unit = "month"', 'unit = "week"', "plan 'free' version 1: unit: Input should be 'month' or 'year'"),
    ('currency = "EUR"', 'currency = "EUX"', "plan 'free' version 1: currency: there is no currency 'EUX'"),
    (
        "usage = 10,",
        "usage = -1,",
        "plan 'free' version 1: included.usage: Input should be greater than or equal to 0",
    ),
    (
        "usage = 10,",
        "usage = 1000000000001,",
        "included.usage: Input should be less than or equal to 1000000000000",
    ),
    (
        "usage = 10,",
        "usage = 10.0,",
        "plan 'free' version 1: included.usage: Input should be a valid integer",
    ),
    (
        "usage = 10,",
        "usage = true,",
        "plan 'free' version 1: included.usage: Input should be a valid integer",
    ),
    ("usage = 10,", "", "plan 'free' version 1: included.usage: Field required"),
    ("alert = 0 }", "alert = 0, voice = 1 }", "included: unknown field 'voice': allowed are usage, alert"),
    (
        "{ usage = 10, alert = 0 }",
        "10",
        "plan 'free' version 1: included: Input should be a valid dictionary",
    ),
    (
        'name = "Free"',
        'name = "Free"\nnmae = 1',
        "plan 'free' version 1: unknown field 'nmae': allowed are id, version",
    ),
    ('name = "Free"', 'name = " "', "plan 'free' version 1: name: printable characters"),
    ('name = "Free"', 'name = ""', "plan 'free' version 1: name: String should have at least 1"),
    ('name = "Free"', 'name = "Fr\\u0000ee"', "plan 'free' version 1: name: printable characters"),
    ('id = "free"', 'id = "Free plan"', "plan 'Free plan' version 1: id: String should match"),
    ('id = "free"', "id = 1", "plan number 1: id: Input should be a valid string"),
    ('id = "free"\n', "", "plan number 1: id: Field required"),
    (
        "version = 1",
        "version = 0",
        "plan 'free' version 0: version: Input should be greater than or equal to 1",
    ),
    ("version = 1", 'version = "1"', "plan 'free' version '1': version: Input should be a valid integer"),
    (
        "may_go_beyond = false",
        "may_go_beyond = true",
        "plan 'free' version 1: may_go_beyond: only bots of a paid plan",
    ),
    ("may_go_beyond = true", "may_go_beyond = false", "plan 'paid' version 3: tiers: there must be none"),
    (PAID[PAID.index("[[plan.tiers") :], "", "plan 'paid' version 3: tiers: needed for usage and alert"),
    ('[[plan.tiers.alert]]\nprice = "0"', "", "plan 'paid' version 3: tiers.alert: Field required"),
    ("up_to = 1000\n", "", "plan 'paid' version 3: tiers.usage: only the last tier may be without up_to"),
    ('price = "0.1234"', 'price = "0.1234"\nup_to = 2000', "tiers.usage: the last tier must have no up_to"),
    (
        '[[plan.tiers.usage]]\nprice = "0.1234"',
        '[[plan.tiers.usage]]\nup_to = 1000\nprice = "0.1"\n[[plan.tiers.usage]]\nprice = "0.1234"',
        "plan 'paid' version 3: tiers.usage: each tier's up_to must be more",
    ),
    (
        "up_to = 1000\n",
        "up_to = 0\n",
        "plan 'paid' version 3: tiers.usage.1.up_to: Input should be greater than",
    ),
    ('price = "0.1234"', "", "plan 'paid' version 3: tiers.usage.2.price: Field required"),
    (
        '"0.1234"',
        '"0.123456789"',
        "plan 'paid' version 3: tiers: 0.123456789 is too fine: 8 decimals are allowed",
    ),
    (
        'price = "0"',
        'price = "0.000000001"',
        "plan 'paid' version 3: tiers: 1E-9 is too fine: 8 decimals are",
    ),
    ("trial_days = 14", "trial_days = -1", "plan 'paid' version 3: trial_days: Input should be greater"),
    (
        "trial_days = 14",
        "trial_days = 0",
        "plan 'paid' version 3: after_trial: there must be none without a trial",
    ),
    ('after_trial = "expired"\n', "", "plan 'paid' version 3: after_trial: needed after a trial"),
    ('after_trial = "expired"', 'after_trial = "ask"', "after_trial: Input should be 'active' or 'expired'"),
    ('name = "Free"', 'name = "Free"\ntrial_days = 1', "plan 'free' version 1: trial_days: only a paid plan"),
    (
        '{ name = "Support", value = "mail" }',
        '{ name = "Help", value = "mail" }',
        "'paid' version 3: offerings: every plan",
    ),
    (', { name = "Support", value = "mail" }', "", "'paid' version 3: offerings: every plan must have"),
    (
        'name = "Support", value = "none"',
        'name = "Bots", value = "none"',
        "'free' version 1: offerings: 'Bots' is there twice",
    ),
    ('{ name = "Support", value = "none" }', '{ name = "Support" }', "offerings.2.value: Field required"),
    (PAID, FREE, "plan: 'free' version 1 is there twice"),
    (FREE + PAID, "", "plan: Field required"),
    (FREE + PAID, "plan = []", "seller: unknown field 'plan'"),
    ("[[plan]]", "[[plans]]", "unknown field 'plans': allowed are seller, plan"),
    (SELLER, "", "seller: Field required"),
    ('"DE"', '"Germany"', "seller.country: String should match"),
    ("Europe/Berlin", "Europe/Bonn", "seller.time_zone: there is no time zone 'Europe/Bonn'"),
    (
        "payment_days = 14",
        "payment_days = 366",
        "seller.payment_days: Input should be less than or equal to 365",
    ),
    (
        'address = ["Musterstraße 1", "10115 Berlin"]',
        'address = "here"',
        "seller.address: Input should be a valid tuple",
    ),
    ('"AC"', '"a c"', "seller.number_prefix: String should match"),
    ('"AC"', '"AC', "the catalogue is no TOML: "),
    ("payment_days = 14", "payment_days = " + "9" * 5000, "the catalogue is no TOML: "),
    ("payment_days = 14", "payment_days = " + "[" * 99999, "the catalogue is no TOML: "),
]


@pytest.mark.parametrize(("right", "wrong", "told"), MISTAKES, ids=[told[-60:] for _, _, told in MISTAKES])
def test_a_mistake_is_told_with_plan_and_field_and_what_is_allowed(right, wrong, told):
    assert right in TEXT
    with pytest.raises(WrongCatalogue) as caught:
        read_catalogue(TEXT.replace(right, wrong, 1))
    assert told in str(caught.value)
    assert caught.value.code == "wrong_catalogue"
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(WrongCatalogue) as caught:
        read_catalogue(TEXT.replace('"49.00"', '"x"').replace("trial_days = 14", "trial_days = 999"))
    assert "price: 'x'" in str(caught.value)
    assert "; plan 'paid' version 3: trial_days: Input should be less than" in str(caught.value)


def test_the_finest_price_of_a_session_that_is_allowed():
    plan = read_catalogue(TEXT.replace('"0.1234"', '"0.12345678"')).plans[1]
    assert plan.terms.tiers[SessionKind.USAGE][1].unit_price == Decimal("0.12345678")


def test_a_paid_plan_may_cost_nothing_but_its_sessions():
    assert read_catalogue(TEXT.replace('"49.00"', '"0"')).plans[1].terms.price_minor == 0


def plans(text=TEXT):
    return read_catalogue(text).plans


def test_the_same_content_has_the_same_fingerprint_however_it_is_written():
    rewritten = TEXT.replace('"49.00"', '"49"').replace("1000", "1_000").replace('"0.20"', '"0.200"')
    lines = rewritten.replace('id = "paid"\nversion = 3', 'version = 3\nid = "paid"')
    assert list(map(fingerprint, plans(lines))) == list(map(fingerprint, plans()))
    assert plans(lines) == plans()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ('"49.00"', '"49.01"'),
        ('"0.1234"', '"0.1235"'),
        ("up_to = 1000", "up_to = 1001"),
        ("usage = 100,", "usage = 101,"),
        ('name = "Paid"', 'name = "Paid more"'),
        ('value = "mail"', 'value = "telephone"'),
        ('"expired"', '"active"'),
        ("trial_days = 14", "trial_days = 15"),
        ('unit = "month"\nprice', 'unit = "year"\nprice'),
        ('currency = "EUR"\nunit = "month"\nprice', 'currency = "USD"\nunit = "month"\nprice'),
        ("version = 3", "version = 4"),
    ],
)
def test_other_content_has_another_fingerprint(before, now):
    assert before in TEXT
    assert fingerprint(plans(TEXT.replace(before, now))[1]) != fingerprint(plans()[1])


@pytest.mark.parametrize("catalogue", [TEXT, shipped()], ids=["example", "shipped"])
def test_a_plan_comes_back_from_the_database_as_it_was(catalogue):
    for plan in plans(catalogue):
        stored = fingerprint(plan)
        shuffled = json.loads(stored, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
        assert plan_of(stored) == plan_of(shuffled) == plan
        assert plan_of(stored).terms == plan.terms
        assert fingerprint(plan_of(shuffled)) == stored


def test_a_stored_plan_that_is_none_is_an_error_with_a_code():
    with pytest.raises(WrongCatalogue):
        plan_of('{"id": "paid"}')


def terms(price_minor, unit):
    return Terms("plan", 1, "EUR", unit, price_minor, {}, {})


@pytest.mark.parametrize(
    ("before", "to", "expected"),
    [
        ((1000, "month"), (1001, "month"), True),
        ((1000, "month"), (1000, "month"), False),
        ((1000, "month"), (999, "month"), False),
        ((1000, "month"), (12_000, "year"), False),
        ((1000, "month"), (12_001, "year"), True),
        ((12_001, "year"), (1000, "month"), False),
        ((11_999, "year"), (1000, "month"), True),
        ((0, "month"), (0, "year"), False),
        ((0, "year"), (1, "month"), True),
    ],
)
def test_an_upgrade_costs_more_by_the_second(before, to, expected):
    assert is_upgrade(terms(*before), terms(*to)) is expected


@given(
    st.integers(0, 10**6),
    st.sampled_from(["month", "year"]),
    st.integers(0, 10**6),
    st.sampled_from(["month", "year"]),
)
def test_of_two_changes_there_and_back_one_at_most_is_an_upgrade(price, unit, other_price, other_unit):
    one, other = terms(price, unit), terms(other_price, other_unit)
    assert not (is_upgrade(one, other) and is_upgrade(other, one))
