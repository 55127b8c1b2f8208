"""The reference model against amounts worked out by hand, and the scenarios' variety."""

import json
import tomllib
from collections import Counter
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from tests.invoicing.reference import (
    DAY_MS,
    EPOCH,
    Books,
    Subscription,
    invoices,
    moments,
    plan_of,
    subscriptions,
)
from tests.invoicing.scenarios import scenario

CALENDAR_CASES = tomllib.loads((Path(__file__).parent / "calendar_cases.toml").read_text())["case"]
HOUR_MS = DAY_MS // 24
SEEDS = range(500)
EXPECTED_VARIETY = {
    *("subscribe", "subscribe again", "upgrade", "upgrade_to_other_unit", "downgrade", "change_in_trial"),
    *("withdraw", "cancel_at_end", "cancel_now", "act on a boundary"),
    *("period", "adjustment", "enterprise", "invoices of several bots", "credits", "moves of zone"),
    *("USD", "EUR", "JPY", "KWD"),
    *(("price", "price"), ("adjustment", "other"), ("credit", "other"), ("tax", "other")),
    *((kind, basis) for kind in ("usage", "alert") for basis in ("included", "tier", "beyond")),
    *("late", "void", "back", "moved within", "moved in a period", "moved to a period", "moved over a gap"),
    *("at a start", "1 ms before an end", "in a gap"),
}


def ms(text):
    at = datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z")
    return (at - EPOCH) // timedelta(milliseconds=1)


def plan(
    plan_id="plan", price_minor=2900, *, unit="month", included=0, tiers=(), trial_days=0, currency="EUR"
):
    return {
        "plan_id": plan_id,
        "version": 1,
        "name": plan_id,
        "currency": currency,
        "unit": unit,
        "price_minor": price_minor,
        "trial_days": trial_days,
        "included": {"usage": included, "alert": 0},
        "tiers": {
            "usage": [{"up_to": up_to, "unit_price": unit_price} for up_to, unit_price in tiers],
            "alert": [],
        },
    }


def act(at, what, plan_id=None, bot_id="bot"):
    chosen = {"plan_id": plan_id, "version": 1} if plan_id else {}
    return {"at_ms": ms(at), "bot_id": bot_id, "act": what, **chosen}


def record(session_id, start, *, known=None, status="final", bot_id="bot", kind="usage"):
    return {
        "known_ms": ms(known or start),
        "session_id": session_id,
        "bot_id": bot_id,
        "kind": kind,
        "started_ms": ms(start),
        "ended_ms": ms(start),
        "status": status,
    }


def account(plans, acts, changes=(), *, credits=(), tax_percent="0", kind="standard", zone="UTC", moves=()):
    return {
        "account": {
            "account_id": "acme",
            "kind": kind,
            "currency": plans[0]["currency"],
            "tax_percent": tax_percent,
            "zone": zone,
            "moves": list(moves),
        },
        "plans": plans,
        "bots": sorted({act["bot_id"] for act in acts}),
        "acts": acts,
        "changes": sorted(changes, key=lambda change: change["known_ms"]),
        "credits": list(credits),
    }


def invoiced(told, until):
    return invoices(told, ms(until), DAY_MS)


def charges(invoice):
    """Of each line but tax: kind, basis, quantity, amount."""
    return [(line[0], line[1], line[7], line[10]) for line in invoice["lines"] if line[0] != "tax"]


def sessions(invoice, kind):
    """What each line of a kind bills."""
    both = zip(invoice["lines"], invoice["sessions"], strict=True)
    return [session_ids for line, session_ids in both if line[0] == kind]


@pytest.mark.parametrize("case", CALENDAR_CASES, ids=lambda case: case["name"])
def test_periods_are_those_written_by_hand(case):
    expected = [ms(text) for text in case["boundaries"]]
    moves = [{"at_ms": ms(move["at"]), "zone": move["zone"]} for move in case.get("moves", ())]
    told = account([plan(unit=case["unit"])], [], zone=case["zone"], moves=moves)
    walked = Subscription(told, "bot", told["plans"][0], expected[0])
    for from_ms, to_ms in zip(expected, expected[1:], strict=False):
        assert (walked.period_from, walked.period_to) == (from_ms, to_ms)
        walked.go_to(to_ms)


def test_a_price_is_paid_for_ten_of_thirty_one_days():
    told = account(
        [plan()], [act("2026-01-01", "subscribe", "plan"), act("2026-01-11", "cancel_now")], tax_percent="19"
    )
    (invoice,) = invoiced(told, "2026-06-01")
    assert invoice == {
        "account": "acme",
        "kind": "period",
        "from_ms": 1767225600000,
        "to_ms": 1768089600000,
        "made_ms": 1768176000000,
        "currency": "EUR",
        "lines": [
            ("price", "price", "bot", "plan", 1, 1767225600000, 1768089600000, 0, "", "19", 935),
            ("tax", "other", "", "", 0, 0, 0, 0, "", "19", 178),
        ],
        "sessions": [[], []],
        "total_minor": 1113,
    }


def test_an_allowance_is_prorated_and_rounded_up():
    told = account(
        [plan(included=100, tiers=[(None, "0.20")])],
        [act("2026-01-01", "subscribe", "plan"), act("2026-01-11", "cancel_now")],
        [record(f"s-{minute:02}", f"2026-01-05T00:{minute:02}:00Z") for minute in range(35)],
    )
    (invoice,) = invoiced(told, "2026-06-01")
    assert charges(invoice) == [
        ("price", "price", 0, 935),
        ("usage", "included", 33, 0),
        ("usage", "tier", 2, 40),
    ]
    assert sessions(invoice, "usage")[1] == ["s-33", "s-34"]


def test_tiers_are_graduated():
    told = account(
        [plan(included=1, tiers=[(2, "0.10"), (5, "0.05"), (None, "0.01")])],
        [act("2026-01-01", "subscribe", "plan")],
        [record(f"s-{number}", f"2026-01-0{number}") for number in range(1, 9)],
    )
    (invoice,) = invoiced(told, "2026-02-10")
    assert sorted(charges(invoice)) == [
        ("price", "price", 0, 2900),
        ("usage", "included", 1, 0),
        ("usage", "tier", 2, 2),
        ("usage", "tier", 2, 20),
        ("usage", "tier", 3, 15),
    ]
    assert invoice["total_minor"] == 2937


def test_sessions_of_one_moment_are_taken_by_their_id():
    told = account(
        [plan(included=1, tiers=[(None, "0.10")])],
        [act("2026-01-01", "subscribe", "plan")],
        [record("s-2", "2026-01-05"), record("s-1", "2026-01-05")],
    )
    (invoice,) = invoiced(told, "2026-02-10")
    assert sessions(invoice, "usage") == [["s-1"], ["s-2"]]


def test_sessions_are_taken_by_their_start_and_whatever_their_id():
    told = account(
        [plan(included=1, tiers=[(None, "0.10")])],
        [act("2026-01-01", "subscribe", "plan")],
        [record("s-2", "2026-01-05"), record("s-1", "2026-01-06")],
    )
    (invoice,) = invoiced(told, "2026-02-10")
    assert sessions(invoice, "usage") == [["s-2"], ["s-1"]]


@pytest.mark.parametrize(("quantity", "amount"), [(1, 1), (2, 1), (3, 2), (5, 3)])
def test_a_line_is_rounded_once_and_half_a_cent_up(quantity, amount):
    told = account(
        [plan(price_minor=0, tiers=[(None, "0.005")])],
        [act("2026-01-01", "subscribe", "plan")],
        [record(f"s-{day}", f"2026-01-{day:02}") for day in range(1, quantity + 1)],
    )
    (invoice,) = invoiced(told, "2026-02-10")
    assert charges(invoice)[1] == ("usage", "tier", quantity, amount)


def test_half_a_cent_of_price_is_rounded_up_and_half_a_cent_of_negative_tax_down():
    told = account(
        [plan(price_minor=1)],
        [act("2026-04-01", "subscribe", "plan"), act("2026-04-16", "cancel_now")],
        credits=[{"at_ms": ms("2026-04-05"), "amount_minor": 51, "reason": "goodwill"}],
        tax_percent="7",
    )
    (invoice,) = invoiced(told, "2026-06-01")
    assert [line[0:2] + line[9:] for line in invoice["lines"]] == [
        ("credit", "other", "7", -51),
        ("price", "price", "7", 1),
        ("tax", "other", "7", -4),
    ]
    assert invoice["total_minor"] == -54


@pytest.mark.parametrize(("currency", "amount"), [("EUR", 25), ("JPY", 0), ("KWD", 250)])
def test_a_unit_price_is_in_major_units(currency, amount):
    told = account(
        [plan(price_minor=0, tiers=[(None, "0.125")], currency=currency)],
        [act("2026-01-01", "subscribe", "plan")],
        [record("s-1", "2026-01-05"), record("s-2", "2026-01-06")],
    )
    (invoice,) = invoiced(told, "2026-02-10")
    assert invoice["total_minor"] == amount


def test_a_trial_is_on_no_invoice_and_is_the_period_before_the_first():
    told = account(
        [plan(trial_days=14, tiers=[(None, "1")])],
        [act("2026-01-10", "subscribe", "plan")],
        [record("s-1", "2026-01-23T23:59:59Z"), record("s-2", "2026-01-24")],
    )
    (first,) = invoiced(told, "2026-03-01")
    assert (first["from_ms"], first["to_ms"]) == (ms("2026-01-24"), ms("2026-02-24"))
    assert charges(first) == [("price", "price", 0, 2900), ("usage", "tier", 1, 100)]


def test_a_change_in_a_trial_is_at_once_and_free_too():
    told = account(
        [plan(trial_days=14), plan("small", 100)],
        [act("2026-01-10", "subscribe", "plan"), act("2026-01-12", "change", "small")],
    )
    (first,) = invoiced(told, "2026-03-01")
    assert (first["from_ms"], first["to_ms"]) == (ms("2026-01-24"), ms("2026-02-24"))
    assert charges(first) == [("price", "price", 0, 100)]


def test_an_upgrade_divides_the_period():
    told = account(
        [plan("small", 3000, included=3), plan("large", 9000, included=3)],
        [act("2026-04-01", "subscribe", "small"), act("2026-04-11T00:00:00.999Z", "change", "large")],
        [record(f"s-{day}", f"2026-04-{day:02}") for day in range(9, 13)],
    )
    (invoice,) = invoiced(told, "2026-05-03")
    assert sorted((*line[3:4], *line[7:8], line[10]) for line in invoice["lines"] if line[0] != "tax") == [
        ("large", 0, 6000),
        ("large", 2, 0),
        ("small", 0, 1000),
        ("small", 1, 0),
        ("small", 1, 0),
    ]


def test_an_upgrade_to_another_unit_ends_the_period_and_starts_an_anchor():
    told = account(
        [plan("monthly", 3000), plan("yearly", 73000, unit="year")],
        [act("2026-04-01", "subscribe", "monthly"), act("2026-04-11", "change", "yearly")],
    )
    first, second = invoiced(told, "2027-05-01")
    assert (first["from_ms"], first["to_ms"]) == (ms("2026-04-01"), ms("2026-04-11"))
    assert charges(first) == [("price", "price", 0, 1000)]
    assert (second["from_ms"], second["to_ms"]) == (ms("2026-04-11"), ms("2027-04-11"))
    assert charges(second) == [("price", "price", 0, 73000)]


@pytest.mark.parametrize("price_minor", [100, 3000])
def test_a_downgrade_and_a_change_to_the_same_price_wait_for_the_end(price_minor):
    told = account(
        [plan("plan", 3000), plan("other", price_minor)],
        [act("2026-04-30", "subscribe", "plan"), act("2026-05-11", "change", "other")],
    )
    first, second = invoiced(told, "2026-07-02")
    assert charges(first) == [("price", "price", 0, 3000)]
    assert [line[3] for line in second["lines"]] == ["other"]
    assert charges(second) == [("price", "price", 0, price_minor)]


def test_a_downgrade_that_came_is_over():
    told = account(
        [plan("plan", 3000), plan("other", 100)],
        [
            act("2026-04-01", "subscribe", "plan"),
            act("2026-04-11", "change", "other"),
            act("2026-05-01", "change", "plan"),
        ],
    )
    assert [invoice["total_minor"] for invoice in invoiced(told, "2026-07-02")] == [3000] * 3


def test_what_is_withdrawn_does_not_come():
    told = account(
        [plan("plan", 3000), plan("other", 100)],
        [
            act("2026-04-01", "subscribe", "plan"),
            act("2026-04-02", "change", "other"),
            act("2026-04-03", "withdraw"),
            act("2026-04-04", "cancel_at_end"),
            act("2026-04-05", "withdraw"),
        ],
    )
    assert [invoice["total_minor"] for invoice in invoiced(told, "2026-06-02")] == [3000, 3000]


def test_cancelling_at_the_end_leaves_the_period_whole_and_the_last():
    told = account(
        [plan(tiers=[(None, "1")])],
        [act("2026-01-31", "subscribe", "plan"), act("2026-02-01", "cancel_at_end")],
        [record("in", "2026-02-27T23:59:59.999Z"), record("out", "2026-02-28")],
    )
    (invoice,) = invoiced(told, "2027-01-01")
    assert charges(invoice) == [("price", "price", 0, 2900), ("usage", "tier", 1, 100)]
    assert sessions(invoice, "usage") == [["in"]]


def test_after_cancelling_now_nothing_is_billed_until_the_bot_subscribes_again():
    told = account(
        [plan(tiers=[(None, "1")])],
        [
            act("2026-04-01", "subscribe", "plan"),
            act("2026-04-16", "cancel_now"),
            act("2026-04-20", "subscribe", "plan"),
        ],
        [record("gap", "2026-04-16"), record("again", "2026-04-20")],
    )
    first, second = invoiced(told, "2026-06-01")
    assert charges(first) == [("price", "price", 0, 1450)]
    assert charges(second) == [("price", "price", 0, 2900), ("usage", "tier", 1, 100)]


def test_bots_whose_periods_coincide_share_an_invoice():
    told = account(
        [plan()],
        [
            act("2026-01-01T00:00:00.100Z", "subscribe", "plan", "one"),
            act("2026-01-01T00:00:00.900Z", "subscribe", "plan", "two"),
            act("2026-01-01T00:00:01Z", "subscribe", "plan", "three"),
        ],
    )
    assert [invoice["total_minor"] for invoice in invoiced(told, "2026-02-10")] == [5800, 2900]


def test_an_enterprise_account_has_no_invoices():
    told = account([plan()], [act("2026-01-01", "subscribe", "plan")], kind="enterprise")
    assert invoiced(told, "2027-01-01") == []


def test_what_becomes_known_later_is_on_the_next_invoice():
    told = account(
        [plan(tiers=[(None, "1")])],
        [act("2026-01-01", "subscribe", "plan")],
        [
            record("gone", "2026-01-05"),
            record("gone", "2026-01-05", known="2026-02-05", status="void"),
            record("late", "2026-01-06", known="2026-02-06"),
            record("later", "2026-01-07", known="2026-02-07"),
            record("moved", "2026-01-31"),
            record("moved", "2026-02-01", known="2026-03-05"),
            record("in-time", "2026-01-08", known="2026-02-02"),
        ],
        tax_percent="19",
    )
    january, february, march = invoiced(told, "2026-04-03")
    assert january["total_minor"] == 3200 + 608
    assert charges(february) == [("adjustment", "other", 0, 100), ("price", "price", 0, 2900)]
    assert sessions(february, "adjustment") == [["gone", "late", "later"]]
    assert february["total_minor"] == 3000 + 570
    assert charges(march) == [
        ("adjustment", "other", 0, -100),
        ("adjustment", "other", 0, 100),
        ("price", "price", 0, 2900),
    ]
    assert [line[5] for line in march["lines"][:2]] == [ms("2026-01-01"), ms("2026-02-01")]
    assert sessions(march, "adjustment") == [["moved"], ["moved"]]


def test_what_costs_the_same_is_no_adjustment():
    told = account(
        [plan(tiers=[(None, "1")])],
        [act("2026-01-01", "subscribe", "plan")],
        [record("moved", "2026-01-05"), record("moved", "2026-01-06", known="2026-02-05")],
    )
    assert charges(invoiced(told, "2026-03-03")[1]) == [("price", "price", 0, 2900)]


def test_when_no_period_will_end_any_more_an_adjustment_has_its_own_invoice():
    told = account(
        [plan(tiers=[(None, "1")])],
        [act("2026-01-01", "subscribe", "plan"), act("2026-01-31", "cancel_at_end")],
        [
            record("late", "2026-01-06", known="2026-02-06"),
            record("later", "2026-01-07", known="2026-02-07"),
            record("late", "2026-01-06", known="2026-02-08", status="void"),
        ],
        tax_percent="19",
    )
    _, *adjustments = invoiced(told, "2026-04-03")
    assert [invoice["kind"] for invoice in adjustments] == ["adjustment"] * 3
    assert [invoice["total_minor"] for invoice in adjustments] == [119, 119, -119]
    assert {(invoice["from_ms"], invoice["to_ms"]) for invoice in adjustments} == {
        (ms("2026-01-01"), ms("2026-02-01"))
    }


def test_a_subscription_that_is_yet_to_begin_is_not_waited_for():
    told = account(
        [plan(tiers=[(None, "1")])],
        [
            act("2026-01-01", "subscribe", "plan"),
            act("2026-01-31", "cancel_at_end"),
            act("2026-03-01", "subscribe", "plan"),
        ],
        [record("late", "2026-01-06", known="2026-02-06"), record("later", "2026-01-07", known="2026-03-07")],
    )
    made = invoiced(told, "2026-04-03")
    assert [(invoice["kind"], invoice["total_minor"]) for invoice in made] == [
        ("period", 2900),
        ("adjustment", 100),
        ("period", 3000),
    ]


def test_of_two_invoices_at_once_the_earlier_start_has_the_adjustment():
    told = account(
        [plan(tiers=[(None, "1")])],
        [
            act("2026-01-01", "subscribe", "plan", "one"),
            act("2026-02-11", "subscribe", "plan", "two"),
            act("2026-03-01", "cancel_now", bot_id="two"),
        ],
        [record("late", "2026-01-06", known="2026-02-06", bot_id="one")],
    )
    _, month, rest = invoiced(told, "2026-03-03")
    assert (month["total_minor"], rest["total_minor"]) == (3000, 1864)
    assert (month["to_ms"], month["made_ms"]) == (rest["to_ms"], rest["made_ms"])


def test_a_credit_is_on_the_next_invoice():
    told = account(
        [plan()],
        [act("2026-01-01", "subscribe", "plan")],
        credits=[
            {"at_ms": ms("2026-02-02"), "amount_minor": 1000, "reason": "in time"},
            {"at_ms": ms("2026-02-02") + 1, "amount_minor": 500, "reason": "too late"},
        ],
    )
    assert [invoice["total_minor"] for invoice in invoiced(told, "2026-03-03")] == [1900, 2400]


@cache
def played():
    return [(told, invoices(told, told["until_ms"], DAY_MS)) for told in map(scenario, SEEDS)]


def test_a_scenario_is_plain_data_and_the_same_for_its_seed():
    for seed in range(20):
        told = scenario(seed)
        assert json.loads(json.dumps(told)) == told == scenario(seed)


def test_the_lines_of_an_invoice_add_up_and_no_session_is_on_it_twice():
    for _, made in played():
        for invoice in made:
            assert invoice["total_minor"] == sum(line[-1] for line in invoice["lines"])
            lines = sessions(invoice, "usage") + sessions(invoice, "alert")
            billed = [session_id for session_ids in lines for session_id in session_ids]
            assert len(billed) == len(set(billed))


def test_what_was_billed_in_all_is_what_is_owed_in_the_end():
    """Of accounts that have left: nothing of theirs waits for another invoice."""
    gone = 0
    for told, made in played():
        books = Books(told, told["until_ms"], DAY_MS)
        if made and not books.another_comes(told["until_ms"]):
            gone += 1
            books.known = {change["session_id"]: change for change in told["changes"]}
            owed = [line for period in books.periods for line in books.bill_period(period)]
            billed = [line for invoice in made for line in invoice["lines"]]
            assert sum(line[-1] for line in billed if line[0] not in ("tax", "credit")) == sum(
                line.amount_minor for line in owed
            )
    assert gone > 20


def test_moments_are_in_order_and_include_every_invoice():
    for told, made in played()[:50]:
        times = moments(told, told["until_ms"], DAY_MS)
        assert times == sorted(set(times))
        assert {invoice["made_ms"] for invoice in made} <= set(times)


def test_scenarios_are_varied():
    seen = Counter()
    for told, made in played():
        seen.update(acts_done(told))
        seen.update(changes_seen(told))
        seen.update(invoice["kind"] for invoice in made)
        seen.update(line[:2] for invoice in made for line in invoice["lines"])
        seen["enterprise"] += told["account"]["kind"] == "enterprise"
        seen["invoices of several bots"] += sum(len({line[2] for line in i["lines"]}) > 2 for i in made)
        seen["credits"] += len(told["credits"])
        seen["moves of zone"] += len(told["account"]["moves"])
        seen[told["account"]["currency"]] += 1
    rare = {name: count for name, count in seen.items() if count < 10}
    assert not rare
    assert set(seen) >= EXPECTED_VARIETY


def acts_done(told):
    """What each act turned out to be."""
    for bot_id in told["bots"]:
        walked = None
        for one in told["acts"]:
            if one["bot_id"] != bot_id:
                continue
            if one["act"] == "subscribe":
                yield "subscribe again" if walked else "subscribe"
                chosen = plan_of(told, one["plan_id"], one["version"])
                walked = Subscription(told, bot_id, chosen, one["at_ms"], is_first=walked is None)
            else:
                walked.go_to(one["at_ms"])
                if walked.period_from == one["at_ms"] - one["at_ms"] % 1000:
                    yield "act on a boundary"
                yield walked.do(one)


def changes_seen(told):
    """Where each record lies, and what became known of it later."""
    slices = [piece for one in subscriptions(told, told["until_ms"]) for piece in one.slices]
    over_ms = max((piece.period[1] for piece in slices), default=0)

    def home(change):
        homes = (
            piece
            for piece in slices
            if piece.bot_id == change["bot_id"] and piece.during[0] <= change["started_ms"] < piece.during[1]
        )
        return next(homes, None)

    known = {}
    for change in told["changes"]:
        before, known[change["session_id"]] = known.get(change["session_id"]), change
        place = home(change)
        if place and change["started_ms"] == place.during[0]:
            yield "at a start"
        if place and change["started_ms"] == place.during[1] - 1:
            yield "1 ms before an end"
        if not place and change["started_ms"] < over_ms:
            yield "in a gap"
        if before is None:
            if change["known_ms"] > change["ended_ms"] + HOUR_MS:
                yield "late"
        elif change["status"] == "void":
            yield "void"
        elif before["status"] == "void":
            yield "back"
        elif place and place == home(before):
            yield "moved within"
        elif place and home(before) and place.period == home(before).period:
            yield "moved in a period"
        elif place and home(before):
            yield "moved to a period"
        else:
            yield "moved over a gap"
