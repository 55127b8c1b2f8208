"""What an account is invoiced, the slow and obvious way: the rules of invoicing/README.md, walked literally.

It shares no code with `invoicing/`: its own calendar, its own subscriptions, one record after another. A
scenario is plain data, made by `scenarios.py`, which says what its keys are.

Where the rules leave something open, this is how it reads them:
- Cancelling now ends the subscription and its period. A period that this or an upgrade to another unit
  ends is invoiced as [start, then); what it costs is a share of the period that it would have been.
- A change in a trial leaves the trial's end where it was. Only a bot's first subscription has the trial of
  its plan; a change never starts a trial.
- A change at the period's end starts a new anchor there if it is to another unit, else the anchor stays.
- A bot's period in which no slice can cost anything is on no invoice. Every slice of the others has a price
  line and every rate but 0 a tax line, be these of 0; a line of sessions has at least one.
- Where what is owed is what was billed there is no adjustment, whatever records came and went.
- A credit is net: the tax falls with it. It is on the next invoice of any kind; a total may be negative.
- An invoice of kind `adjustment` corrects one period, and has its times.
"""

from __future__ import annotations

import calendar
import functools
import importlib.resources
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

DAY_MS = 24 * 60 * 60 * 1000
MINOR_DIGITS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Scenario = dict[str, Any]
Plan = dict[str, Any]
Record = dict[str, Any]
Stretch = tuple[int, int]
"""A half-open interval of ms: from, to."""


# ---- the calendar


@functools.cache
def zone_info(name: str) -> ZoneInfo:
    """A zone of the pinned database, not of the machine's."""
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)


def to_whole_second(at_ms: int) -> int:
    return at_ms - at_ms % 1000


def wall_clock(at_ms: int, zone: str) -> datetime:
    """What the clock on the wall shows, without its zone."""
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone_info(zone)).replace(tzinfo=None, fold=0)


def instant(wall: datetime, zone: str) -> int:
    """When the clock shows that: the first time, or by the offset before a gap, as fold=0 has it."""
    return (wall.replace(tzinfo=zone_info(zone), fold=0) - EPOCH) // timedelta(milliseconds=1)


def boundary(anchor_wall: datetime, unit: str, number: int, zone: str) -> int:
    months = anchor_wall.year * 12 + anchor_wall.month - 1 + number * {"month": 1, "year": 12}[unit]
    year, month = months // 12, months % 12 + 1
    day = min(anchor_wall.day, calendar.monthrange(year, month)[1])
    return instant(anchor_wall.replace(year=year, month=month, day=day), zone)


def zone_at(account: dict[str, Any], at_ms: int) -> str:
    zone: str = account["zone"]
    for move in sorted(account["moves"], key=lambda move: move["at_ms"]):
        if move["at_ms"] <= at_ms:
            zone = move["zone"]
    return zone


# ---- subscriptions and their slices


@dataclass(frozen=True)
class Slice:
    """A bot under one plan version, within one period; `whole` is the period as long as it was to be."""

    bot_id: str
    plan_id: str
    version: int
    is_trial: bool
    during: Stretch
    period: Stretch
    whole: Stretch


@dataclass
class Subscription:
    """One subscription of a bot, walked forward act by act."""

    scenario: Scenario
    bot_id: str
    plan: Plan
    from_ms: int
    is_first: bool = True
    """Of its bot: others have no trial."""
    slices: list[Slice] = field(default_factory=list)
    """Those of the periods that are over."""
    parts: list[tuple[Plan, Stretch]] = field(default_factory=list)
    """Those of the period that runs."""
    is_trial: bool = False
    over: bool = False
    cancelling: bool = False
    next_plan: Plan | None = None
    part_from: int = field(init=False)
    period_from: int = field(init=False)
    period_to: int = field(init=False)
    anchor_wall: datetime = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.from_ms = self.part_from = self.period_from = to_whole_second(self.from_ms)
        if self.plan["trial_days"] and self.is_first:
            self.is_trial = True
            self.period_to = self.from_ms + self.plan["trial_days"] * DAY_MS
        else:
            self.start_anchor(self.from_ms)

    @property
    def waits(self) -> bool:
        """Whether a change or a cancellation waits for the period's end."""
        return self.cancelling or self.next_plan is not None

    def start_anchor(self, at_ms: int) -> None:
        self.anchor_wall = wall_clock(at_ms, zone_at(self.scenario["account"], at_ms))
        self.number = 0
        self.start_period(at_ms)

    def start_period(self, at_ms: int) -> None:
        self.number += 1
        self.period_from = self.part_from = at_ms
        zone = zone_at(self.scenario["account"], at_ms)
        self.period_to = boundary(self.anchor_wall, self.plan["unit"], self.number, zone)

    def end_part(self, at_ms: int) -> None:
        if self.part_from < at_ms:
            self.parts.append((self.plan, (self.part_from, at_ms)))
        self.part_from = at_ms

    def end_period(self, at_ms: int) -> None:
        """The period is over at `at_ms`: its parts are slices now."""
        for plan, during in self.parts:
            self.slices.append(
                Slice(
                    self.bot_id,
                    plan["plan_id"],
                    plan["version"],
                    self.is_trial,
                    during,
                    (self.period_from, at_ms),
                    (self.period_from, self.period_to),
                )
            )
        self.parts = []

    def go_to(self, at_ms: int) -> None:
        """Renew until the period that runs holds `at_ms`."""
        while not self.over and self.period_to <= at_ms:
            self.renew()

    def renew(self) -> None:
        at_ms = self.period_to
        self.end_part(at_ms)
        self.end_period(at_ms)
        old_plan, self.plan = self.plan, self.next_plan or self.plan
        self.next_plan = None
        if self.cancelling:
            self.over = True
        elif self.is_trial or old_plan["unit"] != self.plan["unit"]:
            self.is_trial = False
            self.start_anchor(at_ms)
        else:
            self.start_period(at_ms)

    def costs_more(self, plan: Plan, at_ms: int) -> bool:
        """Whether its price per second of its period is higher than that of the plan that runs."""
        here = self.period_to - self.period_from
        there = here
        if plan["unit"] != self.plan["unit"]:
            zone = zone_at(self.scenario["account"], at_ms)
            there = boundary(wall_clock(at_ms, zone), plan["unit"], 1, zone) - at_ms
        return Fraction(plan["price_minor"], there) > Fraction(self.plan["price_minor"], here)

    def change(self, plan: Plan, at_ms: int) -> str:
        """Upgrade or downgrade; tells which it was."""
        if self.is_trial:
            self.end_part(at_ms)
            self.plan = plan
            return "change_in_trial"
        if not self.costs_more(plan, at_ms):
            self.next_plan = plan
            return "downgrade"
        old_plan = self.plan
        self.end_part(at_ms)
        if old_plan["unit"] == plan["unit"]:
            self.plan = plan
            return "upgrade"
        self.end_period(at_ms)
        self.plan = plan
        self.start_anchor(at_ms)
        return "upgrade_to_other_unit"

    def do(self, act: dict[str, Any]) -> str:
        """Do one act, to the second; tells what it was."""
        at_ms = to_whole_second(act["at_ms"])
        self.go_to(at_ms)
        if self.over:
            raise ValueError(f"{act} comes after the subscription's end")
        if (act["act"] == "withdraw") != self.waits and act["act"] != "cancel_now":
            raise ValueError(
                f"{act}: the rules do not say what it does while a change waits, or while none does"
            )
        if act["act"] == "change":
            return self.change(plan_of(self.scenario, act["plan_id"], act["version"]), at_ms)
        if act["act"] == "withdraw":
            self.next_plan, self.cancelling = None, False
        elif act["act"] == "cancel_at_end":
            self.cancelling = True
        elif act["act"] == "cancel_now":
            self.end_part(at_ms)
            self.end_period(at_ms)
            self.over = True
        else:
            raise ValueError(f"{act} is unknown")
        return str(act["act"])


def plan_of(scenario: Scenario, plan_id: str, version: int) -> Plan:
    plans: list[Plan] = scenario["plans"]
    return next(plan for plan in plans if (plan["plan_id"], plan["version"]) == (plan_id, version))


def is_sold(plan: Plan) -> bool:
    return bool(plan["price_minor"] or any(plan["tiers"].values()))


def subscriptions(scenario: Scenario, until_ms: int) -> list[Subscription]:
    """Every subscription that has begun, with the slices of all its periods that are over."""
    found: list[Subscription] = []
    for bot_id in scenario["bots"]:
        running: Subscription | None = None
        for act in scenario["acts"]:
            if act["bot_id"] != bot_id or act["at_ms"] > until_ms:
                continue
            if act["act"] == "subscribe":
                plan = plan_of(scenario, act["plan_id"], act["version"])
                running = Subscription(scenario, bot_id, plan, act["at_ms"], is_first=running is None)
                found.append(running)
            else:
                assert running is not None
                running.do(act)
    for subscription in found:
        subscription.go_to(until_ms)
    return found


# ---- rating


@dataclass(frozen=True)
class Line:
    kind: str
    basis: str
    tax_percent: str
    amount_minor: int
    bot_id: str = ""
    plan_id: str = ""
    version: int = 0
    during: Stretch = (0, 0)
    quantity: int = 0
    unit_price: str = ""
    sessions: frozenset[str] = frozenset()

    def row(self) -> tuple[Any, ...]:
        """As an invoice has it: what a line does not have is '' or 0."""
        return (
            self.kind,
            self.basis,
            self.bot_id,
            self.plan_id,
            self.version,
            *self.during,
            self.quantity,
            self.unit_price,
            self.tax_percent,
            self.amount_minor,
        )


def round_half_away(amount: Fraction) -> int:
    size = math.floor(abs(amount) + Fraction(1, 2))
    return size if amount >= 0 else -size


def plain(number: str) -> str:
    """A decimal number without needless zeros or exponent."""
    return format(Decimal(number).normalize(), "f")


def billed_as(plan: Plan, kind: str, allowance: int, is_trial: bool, number: int) -> tuple[str, int, str]:
    """Basis, tier and price of a slice's `number`th session (from 1)."""
    if is_trial:
        return "trial", 0, "0"
    if number <= allowance:
        return "included", 0, "0"
    for index, tier in enumerate(plan["tiers"][kind]):
        if tier["up_to"] is None or number - allowance <= tier["up_to"]:
            return "tier", index, tier["unit_price"]
    return "beyond", 0, "0"


def rate(plan: Plan, tax_percent: str, piece: Slice, records: Iterable[Record]) -> list[Line]:
    """The lines of one slice, for the records that started in it."""
    share = Fraction(piece.during[1] - piece.during[0], piece.whole[1] - piece.whole[0])
    line = functools.partial(
        Line,
        tax_percent=tax_percent,
        bot_id=piece.bot_id,
        plan_id=piece.plan_id,
        version=piece.version,
        during=piece.during,
    )
    basis = "trial" if piece.is_trial else "price"
    price = Fraction(0) if piece.is_trial else plan["price_minor"] * share
    lines = [line("price", basis, amount_minor=round_half_away(price))]
    for kind in ("usage", "alert"):
        allowance = math.ceil(plan["included"][kind] * share)
        amounts: dict[tuple[str, int, str], Fraction] = {}
        sessions: dict[tuple[str, int, str], list[str]] = {}
        in_order = sorted((r["started_ms"], r["session_id"]) for r in records if r["kind"] == kind)
        for number, (_, session_id) in enumerate(in_order, start=1):
            place = billed_as(plan, kind, allowance, piece.is_trial, number)
            in_minor_units = Fraction(place[2]) * 10 ** MINOR_DIGITS[plan["currency"]]
            amounts[place] = amounts.get(place, Fraction(0)) + in_minor_units
            sessions.setdefault(place, []).append(session_id)
        for place, amount in amounts.items():
            lines.append(
                line(
                    kind,
                    place[0],
                    amount_minor=round_half_away(amount),
                    quantity=len(sessions[place]),
                    unit_price=plain(place[2]) if place[0] == "tier" else "",
                    sessions=frozenset(sessions[place]),
                )
            )
    return lines


def tax_line(lines: list[Line], percent: str) -> Line:
    """The only one: an account has one rate."""
    net = sum(line.amount_minor for line in lines)
    return Line("tax", "other", percent, round_half_away(net * Fraction(percent) / 100))


# ---- invoices


class Books:
    """An account's invoices, made one after another as time goes by."""

    def __init__(self, scenario: Scenario, until_ms: int, grace_ms: int) -> None:
        self.scenario, self.grace_ms = scenario, grace_ms
        self.tax_percent = plain(scenario["account"]["tax_percent"])
        self.subscriptions = subscriptions(scenario, until_ms)
        self.slices = [
            piece for subscription in self.subscriptions for piece in self.invoiced_slices(subscription)
        ]
        self.periods = sorted({piece.period for piece in self.slices}, key=lambda period: period[::-1])
        self.known: dict[str, Record] = {}
        """The session records as they are known now."""
        self.credits: list[dict[str, Any]] = []
        """Those that wait for an invoice."""
        self.billed: dict[tuple[Stretch, str], tuple[int, frozenset[tuple[str, int]]]] = {}
        """By period and bot: the money billed so far, and the (session, start) it was billed for."""
        self.rated: dict[tuple[Any, ...], list[Line]] = {}
        self.made: list[dict[str, Any]] = []

    def invoiced_slices(self, subscription: Subscription) -> list[Slice]:
        """Those of periods in which something can cost anything."""
        sold = {piece.period for piece in subscription.slices if self.can_charge(piece)}
        return [piece for piece in subscription.slices if piece.period in sold]

    def can_charge(self, piece: Slice) -> bool:
        return not piece.is_trial and is_sold(plan_of(self.scenario, piece.plan_id, piece.version))

    def records_of(self, piece: Slice) -> list[Record]:
        from_ms, to_ms = piece.during
        return [
            record
            for record in self.known.values()
            if record["bot_id"] == piece.bot_id
            and record["status"] == "final"
            and from_ms <= record["started_ms"] < to_ms
        ]

    def lines_of(self, period: Stretch, bot_id: str) -> list[Line]:
        """What is owed for a bot's period, by what is known now."""
        lines: list[Line] = []
        for piece in self.slices:
            if piece.period == period and piece.bot_id == bot_id:
                records = self.records_of(piece)
                key = (piece, frozenset((r["session_id"], r["started_ms"]) for r in records))
                if key not in self.rated:
                    plan = plan_of(self.scenario, piece.plan_id, piece.version)
                    self.rated[key] = rate(plan, self.tax_percent, piece, records)
                lines += self.rated[key]
        return lines

    def starts_of(self, lines: list[Line]) -> frozenset[tuple[str, int]]:
        return frozenset((id_, self.known[id_]["started_ms"]) for line in lines for id_ in line.sessions)

    def bill_period(self, period: Stretch) -> list[Line]:
        """The lines of a period that was never invoiced."""
        bill = []
        for bot_id in self.scenario["bots"]:
            lines = self.lines_of(period, bot_id)
            if lines:
                net = sum(line.amount_minor for line in lines)
                self.billed[period, bot_id] = (net, self.starts_of(lines))
                bill += lines
        return bill

    def bill_corrections(self, period: Stretch) -> list[Line]:
        """For each bot of an invoiced period, what is owed now less what was billed so far."""
        bill = []
        for bot_id in self.scenario["bots"]:
            if (period, bot_id) not in self.billed:
                continue
            net, starts = self.billed[period, bot_id]
            lines = self.lines_of(period, bot_id)
            net_now = sum(line.amount_minor for line in lines)
            if net_now != net:
                starts_now = self.starts_of(lines)
                changed = frozenset(session_id for session_id, _ in starts ^ starts_now)
                self.billed[period, bot_id] = (net_now, starts_now)
                bill.append(
                    Line(
                        "adjustment",
                        "other",
                        self.tax_percent,
                        net_now - net,
                        bot_id=bot_id,
                        during=period,
                        sessions=changed,
                    )
                )
        return bill

    def bill_credits(self) -> list[Line]:
        waiting, self.credits = self.credits, []
        return [Line("credit", "other", self.tax_percent, -credit["amount_minor"]) for credit in waiting]

    def invoiced_periods(self) -> list[Stretch]:
        return [period for period in self.periods if any(key[0] == period for key in self.billed)]

    def make(self, kind: str, period: Stretch, lines: list[Line], now_ms: int) -> None:
        if self.tax_percent != "0":
            lines = [*lines, tax_line(lines, self.tax_percent)]
        rows = sorted((line.row(), sorted(line.sessions)) for line in lines)
        self.made.append(
            {
                "account": self.scenario["account"]["account_id"],
                "kind": kind,
                "from_ms": period[0],
                "to_ms": period[1],
                "made_ms": now_ms,
                "currency": self.scenario["account"]["currency"],
                "lines": [row for row, _ in rows],
                "sessions": [session_ids for _, session_ids in rows],
                "total_minor": sum(line.amount_minor for line in lines),
            }
        )

    def another_comes(self, now_ms: int) -> bool:
        """Whether, as subscriptions stand now, a period is to be invoiced now or later."""
        return any(
            self.will_charge(subscription)
            or any(p.period[1] + self.grace_ms >= now_ms for p in self.invoiced_slices(subscription))
            for subscription in subscriptions(self.scenario, now_ms)
        )

    def will_charge(self, subscription: Subscription) -> bool:
        ends_free = subscription.over or (subscription.is_trial and subscription.cancelling)
        return not ends_free and is_sold(subscription.plan)

    def invoice_periods(self, now_ms: int) -> None:
        for period in self.periods:
            if period[1] + self.grace_ms == now_ms:
                corrections = [line for p in self.invoiced_periods() for line in self.bill_corrections(p)]
                lines = self.bill_period(period) + corrections + self.bill_credits()
                self.make("period", period, lines, now_ms)

    def invoice_corrections(self, now_ms: int) -> None:
        for period in self.invoiced_periods():
            corrections = self.bill_corrections(period)
            if corrections:
                self.make("adjustment", period, corrections + self.bill_credits(), now_ms)


def moments(scenario: Scenario, until_ms: int, grace_ms: int) -> list[int]:
    """Every time, in order, at which something becomes known or an invoice is due."""
    times = {change["known_ms"] for change in scenario["changes"]}
    times |= {credit["at_ms"] for credit in scenario["credits"]}
    for subscription in subscriptions(scenario, until_ms):
        times |= {piece.period[1] + grace_ms for piece in subscription.slices}
    return sorted(time for time in times if time <= until_ms)


def invoices(scenario: Scenario, until_ms: int, grace_ms: int) -> list[dict[str, Any]]:
    """The account's invoices, in the order they are made, if the aggregator looks at every moment.

    `lines` are sorted tuples (kind, basis, bot, plan, version, from_ms, to_ms, quantity, unit_price,
    tax_percent, amount_minor), '' or 0 where a line has no such thing; `sessions` has for each line, in the
    same order, the ids it bills, of an adjustment those that came and those that went.
    """
    if scenario["account"]["kind"] == "enterprise":
        return []
    books = Books(scenario, until_ms, grace_ms)
    for now_ms in moments(scenario, until_ms, grace_ms):
        for change in scenario["changes"]:
            if change["known_ms"] == now_ms:
                books.known[change["session_id"]] = change
        books.credits += [credit for credit in scenario["credits"] if credit["at_ms"] == now_ms]
        books.invoice_periods(now_ms)
        if not books.another_comes(now_ms):
            books.invoice_corrections(now_ms)
    return books.made
