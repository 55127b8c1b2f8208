"""Random scenarios for the aggregator: plain data that a store can play and that `reference.py` can walk.

`scenario(seed)` is a dict that JSON can hold, the same one for the same seed:

    seed         int
    start_ms     the first day; `until_ms` is when to stop, 17 months later, after the last correction
    seller       seller_id, name, country, zone
    account      account_id, name, kind ('standard' or 'enterprise'), currency, tax_percent ('8.875'), zone,
                 moves: [{at_ms, zone}], at whole seconds
    plans        [{plan_id, version, name, currency, unit ('month' or 'year'), price_minor, trial_days,
                 included: {usage, alert}, tiers: {usage: [{up_to, unit_price}], alert: [...]}}]
                 price_minor 0 is a free plan; `up_to` counts the sessions beyond the allowance, null for the
                 last tier; unit_price is text, in major units; a plan has tiers for both kinds, or for none
                 and then no charge is made beyond its allowance
    bots         [bot_id]
    acts         by at_ms: [{at_ms, bot_id, act, plan_id?, version?}], act one of
                     subscribe       plan_id, version: a new subscription; the bot has none that lives
                     change          plan_id, version: an upgrade, a downgrade, or a change in a trial
                     withdraw        takes back the change or the cancellation that waits
                     cancel_at_end, cancel_now
                 at_ms has milliseconds, which the aggregator cuts; every act is allowed where it stands
    changes      by known_ms: [{known_ms, session_id, bot_id, kind ('usage' or 'alert'), started_ms,
                 ended_ms, status ('final' or 'void')}]: the session records as they become known; the last
                 of an id holds
    credits      by at_ms: [{at_ms, amount_minor, reason}]; amount_minor > 0 is taken off what is owed

What becomes known in the millisecond in which an invoice is due is known to it.
What the rules say nothing of is left out: a change or a second cancellation while one waits, and prices of
two units so close to each other that the lengths of single months decide which is higher.
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from tests.invoicing.reference import (
    DAY_MS,
    Plan,
    Scenario,
    Slice,
    Stretch,
    Subscription,
    instant,
    subscriptions,
    to_whole_second,
)

MINUTE_MS = 60 * 1000
LENGTH_DAYS = 520
RECORDS_DAYS = 396
STARTS_DAYS = 61
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)
TAX_PERCENTS = ("0", "7.7", "19", "8.875")
PRICES = {
    "USD": (1, 33, 995, 2900, 4999, 9900, 12345, 49900),
    "EUR": (1, 33, 995, 2900, 4999, 9900, 12345, 49900),
    "JPY": (1, 77, 980, 3000, 4999, 12345, 50001),
    "KWD": (1, 305, 9995, 12345, 29001, 150000),
}
UNIT_PRICES = {
    "USD": ("0.20", "0.125", "0.0375", "0.005", "1.111"),
    "EUR": ("0.20", "0.125", "0.0375", "0.005", "1.111"),
    "JPY": ("3", "12.5", "0.75", "101"),
    "KWD": ("0.0625", "0.0005", "0.1", "0.3335"),
}
ALLOWANCES = (0, 0, 1, 3, 10, 50)


def scenario(seed: int) -> Scenario:
    """A scenario; the same seed makes the same one."""
    return Maker(seed).make()


def are_neighbours(one: Stretch, other: Stretch) -> bool:
    return one[1] == other[0] or other[1] == one[0]


class Maker:
    """Makes one scenario, part by part, from one source of randomness."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        first_day = datetime(2025, 1, 1) + timedelta(days=self.random.randrange(3 * 365))
        self.start_ms = instant(first_day, "UTC")
        self.currency = self.random.choice(tuple(PRICES))

    def make(self) -> Scenario:
        self.scenario: Scenario = {
            "seed": self.seed,
            "start_ms": self.start_ms,
            "until_ms": self.start_ms + LENGTH_DAYS * DAY_MS,
            "seller": {
                "seller_id": "seller",
                "name": "Seller GmbH",
                "country": "DE",
                "zone": "Europe/Berlin",
            },
            "account": self.account(),
            "plans": self.plans(),
            "bots": [f"bot-{number}" for number in range(1, self.random.randint(1, 4) + 1)],
            "acts": [],
            "changes": [],
            "credits": [],
        }
        self.scenario["acts"] = self.acts()
        self.slices = [
            piece
            for subscription in subscriptions(self.scenario, self.scenario["until_ms"])
            for piece in subscription.slices
        ]
        self.scenario["changes"] = self.changes()
        self.scenario["credits"] = self.credits()
        return self.scenario

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def at(self, first_day: float, last_day: float) -> int:
        """A moment between two days of the scenario."""
        return self.start_ms + self.random.randrange(int(first_day * DAY_MS), int(last_day * DAY_MS))

    # ---- account and plans

    def account(self) -> dict[str, Any]:
        moves = [
            {"at_ms": to_whole_second(self.at(STARTS_DAYS, RECORDS_DAYS)), "zone": self.random.choice(ZONES)}
            for _ in range(self.random.choice((0, 0, 1, 2)))
        ]
        return {
            "account_id": f"account-{self.seed}",
            "name": f"Account {self.seed}",
            "kind": "enterprise" if self.chance(0.03) else "standard",
            "currency": self.currency,
            "tax_percent": self.random.choice(TAX_PERCENTS),
            "zone": self.random.choice(ZONES),
            "moves": sorted(moves, key=lambda move: move["at_ms"]),
        }

    def plans(self) -> list[Plan]:
        plans = [self.plan("free", 1, "month", 0)]
        for name in ("standard", "advanced", "team", "large")[: self.random.randint(2, 4)]:
            unit = self.random.choice(("month", "month", "year"))
            for version in range(1, self.random.choice((1, 1, 2)) + 1):
                price_minor = self.random.choice(PRICES[self.currency]) * (10 if unit == "year" else 1)
                plans.append(self.plan(name, version, unit, price_minor))
        if self.chance(0.3):
            twin = self.random.choice(plans)
            plans.append(self.plan(f"{twin['plan_id']}-twin", 1, twin["unit"], twin["price_minor"]))
        return plans

    def plan(self, plan_id: str, version: int, unit: str, price_minor: int) -> Plan:
        paid = price_minor > 0
        sells = paid and self.chance(0.8)
        return {
            "plan_id": plan_id,
            "version": version,
            "name": plan_id.title(),
            "currency": self.currency,
            "unit": unit,
            "price_minor": price_minor,
            "trial_days": self.random.choice((0, 0, 7, 14, 30)) if paid else 0,
            "included": {kind: self.random.choice(ALLOWANCES) for kind in ("usage", "alert")},
            "tiers": {kind: self.tiers() if sells else [] for kind in ("usage", "alert")},
        }

    def tiers(self) -> list[dict[str, Any]]:
        limits = sorted(self.random.sample((1, 2, 5, 10, 30), self.random.randrange(3)))
        return [
            {"up_to": up_to, "unit_price": self.random.choice(UNIT_PRICES[self.currency])}
            for up_to in (*limits, None)
        ]

    # ---- acts

    def acts(self) -> list[dict[str, Any]]:
        together_ms = self.subscription_start()
        leaves_ms = self.at(STARTS_DAYS + 10, 250) if self.chance(0.3) else None
        acts: list[dict[str, Any]] = []
        for bot_id in self.scenario["bots"]:
            start_ms = together_ms if self.chance(0.5) else self.subscription_start()
            acts += self.acts_of(bot_id, start_ms, leaves_ms)
        return sorted(acts, key=lambda act: (act["at_ms"], act["bot_id"]))

    def subscription_start(self) -> int:
        """Often a time that is hard for calendars: one of a month's last days, midnight, half past two."""
        day = datetime(1970, 1, 1) + timedelta(
            milliseconds=self.start_ms, days=self.random.randrange(STARTS_DAYS)
        )
        if self.chance(0.4):
            day += timedelta(days=max(0, 31 - day.day - self.random.randrange(3)))
        seconds = self.random.choice((0, 9000, self.random.randrange(86400)))
        wall = day + timedelta(seconds=seconds)
        start_ms = instant(wall, self.scenario["account"]["zone"]) + self.random.choice((0, 1, 999))
        latest_ms = self.start_ms + STARTS_DAYS * DAY_MS
        return min(max(start_ms, self.start_ms), latest_ms)

    def acts_of(self, bot_id: str, start_ms: int, leaves_ms: int | None) -> list[dict[str, Any]]:
        acts: list[dict[str, Any]] = []
        running = self.subscribe(acts, bot_id, start_ms)
        last_ms = leaves_ms or self.start_ms + (RECORDS_DAYS - 30) * DAY_MS
        for _ in range(self.random.choice((0, 1, 2, 4, 8))):
            at_ms = self.next_time(running, acts[-1]["at_ms"])
            if at_ms >= last_ms:
                break
            running.go_to(at_ms)
            if running.over:
                running = self.subscribe(acts, bot_id, at_ms)
            else:
                self.act(acts, running, at_ms, self.allowed_act(running))
        running.go_to(last_ms)
        if leaves_ms is not None and not running.over:
            cancellation = "cancel_now" if running.waits else self.some_cancellation()
            self.act(acts, running, last_ms, {"act": cancellation})
        return acts

    def next_time(self, running: Subscription, after_ms: int) -> int:
        """Some time after the act before; now and then on the boundary where the period ends."""
        if self.chance(0.1) and not running.over and not running.waits:
            return running.period_to + self.random.choice((0, 500))
        days = self.random.choice((1, 10, 40, 90))
        return to_whole_second(after_ms) + 2000 + self.random.randrange(days * DAY_MS)

    def subscribe(self, acts: list[dict[str, Any]], bot_id: str, at_ms: int) -> Subscription:
        plan = self.random.choice(self.scenario["plans"])
        act = {"act": "subscribe", "plan_id": plan["plan_id"], "version": plan["version"]}
        acts.append({"at_ms": at_ms, "bot_id": bot_id, **act})
        is_first = [act["act"] for act in acts].count("subscribe") == 1
        return Subscription(self.scenario, bot_id, plan, at_ms, is_first=is_first)

    def act(self, acts: list[dict[str, Any]], running: Subscription, at_ms: int, act: dict[str, Any]) -> None:
        acts.append({"at_ms": at_ms, "bot_id": running.bot_id, **act})
        running.do(acts[-1])

    def some_cancellation(self) -> str:
        return self.random.choice(("cancel_at_end", "cancel_now"))

    def allowed_act(self, running: Subscription) -> dict[str, Any]:
        if running.waits:
            return {"act": "withdraw" if self.chance(0.7) else "cancel_now"}
        others = [plan for plan in self.scenario["plans"] if self.may_change(running.plan, plan)]
        if not others or self.chance(0.25):
            return {"act": self.some_cancellation()}
        plan = self.random.choice(others)
        return {"act": "change", "plan_id": plan["plan_id"], "version": plan["version"]}

    def may_change(self, old: Plan, new: Plan) -> bool:
        """Whether it is another plan, and clear which of the two costs more."""
        months = {"month": 1, "year": 12}
        here, there = (Fraction(plan["price_minor"], months[plan["unit"]]) for plan in (old, new))
        clear = old["unit"] == new["unit"] or abs(here - there) * 5 >= max(here, there)
        return old is not new and clear

    # ---- records

    def changes(self) -> list[dict[str, Any]]:
        records = [record for bot_id in self.scenario["bots"] for record in self.records_of(bot_id)]
        self.random.shuffle(records)
        corrected = self.random.choice((0, 5, 20, 40))
        changes = [change for record in records[:corrected] for change in self.corrected(record)]
        changes += records[corrected:]
        return sorted(changes, key=lambda change: (change["known_ms"], change["session_id"]))

    def records_of(self, bot_id: str) -> list[dict[str, Any]]:
        slices = [piece for piece in self.slices if piece.bot_id == bot_id]
        starts = [self.at(0, RECORDS_DAYS) for _ in range(self.random.choice((0, 20, 60)))]
        for piece in self.random.sample(slices, min(2, len(slices))):
            starts += [self.within(piece) for _ in range(self.random.choice((0, 15, 50)))]
        for piece in self.random.sample(slices, min(3, len(slices))):
            edge = self.random.choice(piece.during)
            starts += [edge - 1, edge, edge + 1][: self.random.randint(1, 3)]
        starts += self.random.sample(starts, len(starts) // 10)
        latest_ms = self.start_ms + RECORDS_DAYS * DAY_MS
        return [self.record(bot_id, started_ms) for started_ms in starts if started_ms < latest_ms]

    def within(self, piece: Slice) -> int:
        """A start in a slice; one in four times its first or its last millisecond."""
        from_ms, to_ms = piece.during
        some = self.random.randrange(from_ms, to_ms)
        return self.random.choice((some, some, some, some, some, some, from_ms, to_ms - 1))

    def record(self, bot_id: str, started_ms: int) -> dict[str, Any]:
        ended_ms = started_ms + self.random.randrange(15 * MINUTE_MS)
        return {
            "known_ms": ended_ms + self.random.randrange(10 * MINUTE_MS, 30 * MINUTE_MS),
            "session_id": str(uuid.UUID(int=self.random.getrandbits(128), version=5)),
            "bot_id": bot_id,
            "kind": self.random.choice(("usage", "usage", "alert")),
            "started_ms": started_ms,
            "ended_ms": ended_ms,
            "status": "final",
        }

    # ---- corrections

    def corrected(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """All that becomes known of one record: it is late, goes, comes back or starts at another time."""
        what = self.random.choice(("late", "void", "back", "within", "slice", "period"))
        later_ms = self.later(record["known_ms"])
        if what == "late":
            return [{**record, "known_ms": later_ms}]
        if what == "void":
            return [record, {**record, "known_ms": later_ms, "status": "void"}]
        if what == "back":
            void = {**record, "known_ms": later_ms, "status": "void"}
            return [record, void, {**record, "known_ms": self.later(later_ms)}]
        return [record, self.moved(record, self.other_start(record, what), later_ms)]

    def later(self, after_ms: int) -> int:
        return after_ms + 1 + self.random.randrange(self.random.choice((2, 40, 60)) * DAY_MS)

    def moved(self, record: dict[str, Any], started_ms: int, known_ms: int) -> dict[str, Any]:
        ended_ms = record["ended_ms"] - record["started_ms"] + started_ms
        known_ms = max(known_ms, ended_ms + 10 * MINUTE_MS)
        return {**record, "known_ms": known_ms, "started_ms": started_ms, "ended_ms": ended_ms}

    def other_start(self, record: dict[str, Any], what: str) -> int:
        """Another start: in its slice, in another slice of its bot, or in a neighbour of its period."""
        slices = [piece for piece in self.slices if piece.bot_id == record["bot_id"]]
        home = next((p for p in slices if p.during[0] <= record["started_ms"] < p.during[1]), None)
        choices = {
            "within": [piece for piece in slices if piece == home],
            "slice": [piece for piece in slices if piece != home],
            "period": [piece for piece in slices if home and are_neighbours(piece.period, home.period)],
        }[what]
        if not choices:
            return int(record["started_ms"]) + self.random.choice((-1, 1))
        return self.within(self.random.choice(choices))

    # ---- credits

    def credits(self) -> list[dict[str, Any]]:
        """Each while a subscription lives; on a free plan it may wait for ever."""
        credits = []
        for _ in range(self.random.choice((0, 0, 1, 3))):
            if self.slices:
                piece = self.random.choice(self.slices)
                credits.append(
                    {
                        "at_ms": self.random.randrange(*piece.during),
                        "amount_minor": self.random.choice((1, 500, 1234, 100000)),
                        "reason": "goodwill",
                    }
                )
        return sorted(credits, key=lambda credit: credit["at_ms"])
