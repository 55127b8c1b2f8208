"""Runs of the aggregator on a real store: what is invoiced, when, and what is held."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

import invoicing.run
from invoicing import reading
from invoicing.errors import Conflict, InvoicingError, NotAllowed
from invoicing.paying import give_credit, mark_paid
from invoicing.store import accounts as people
from invoicing.store.connecting import Store
from invoicing.voiding import void
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import in_ms, ms
from tests.invoicing.world import (
    DAY_MS,
    GRACE_MS,
    HOUR_MS,
    act,
    add_account,
    free_plan,
    lines,
    open_books,
    plan,
    run,
)

STARTS, ENDS, NEXT = ms("2026-01-15"), ms("2026-02-15"), ms("2026-03-15")
FIVE = [Record(f"s{n}", STARTS + n * HOUR_MS) for n in range(5)]
SUBSCRIPTION = (
    "bot_key, account_id, state, during, unit, anchor_at, anchor_wall, period_number, period_starts_at, "
    "period_ends_at"
)
SLICE = "subscription_id, bot_key, during, plan_id, plan_version, is_trial"
FIRST, SECOND = "QH-2026-000001", "QH-2026-000002"
OF_FIVE = [
    ("price", "price", "sales", 1, 3100, 0),
    ("usage", "included", "sales", 2, 0, 2),
    ("usage", "tier", "sales", 2, 100, 2),
    ("usage", "tier", "sales", 1, 25, 1),
    ("tax", "other", None, 0, 645, 0),
]


@pytest.fixture
async def books(store: Store) -> Store:
    await open_books(store, plan(), plan(id="advanced", price="62.00"), free_plan())
    await add_account(store)
    return store


@pytest.fixture
async def issued(books: Store, stream: Stream) -> Store:
    """A bot whose first period is invoiced: FIRST."""
    await act(books, STARTS).subscribe("standard")
    await stream.write(FIVE)
    await stream.reach(ENDS)
    assert (await run(books, ENDS + GRACE_MS)).issued == 1
    return books


async def test_a_period_is_invoiced_once_it_is_over_and_once_only(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await stream.write([*FIVE, Record("before", STARTS - 1), Record("after", ENDS)])
    await stream.reach(ENDS)
    assert dict((await run(books, ENDS + GRACE_MS - 1)).held) == {"in_grace": 1}
    assert (await run(books, ENDS + GRACE_MS)).issued == 1
    assert (await run(books, ENDS + GRACE_MS)).issued == 0
    assert await lines(stream.connection, FIRST) == OF_FIVE


async def test_a_period_waits_for_the_stream(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    assert dict((await run(books, ENDS + GRACE_MS)).held) == {"stream_behind": 1}
    await stream.reach(ENDS - 1)
    assert dict((await run(books, ENDS + GRACE_MS)).held) == {"stream_behind": 1}
    await stream.write([Record("open", ENDS - 1, status="open")])
    await stream.reach(ENDS)
    assert dict((await run(books, ENDS + GRACE_MS)).held) == {"records_open": 1}
    await stream.write([Record("open", ENDS - 1)])
    assert (await run(books, ENDS + GRACE_MS)).issued == 1
    assert ("usage", "included", "sales", 1, 0, 1) in await lines(stream.connection, FIRST)


async def test_what_changes_meanwhile_holds_only_an_invoice_that_it_is_of(
    books: Store, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await act(books, STARTS).subscribe("standard")
    await stream.write(FIVE)
    await stream.reach(ENDS)
    written: list[list[Record]] = [[Record("late", STARTS)], [Record("s0", ENDS)], [Record("new", ENDS)]]
    hold_feed = invoicing.run.hold_feed

    async def hold_feed_at_last(connection: object) -> int:
        position = await hold_feed(connection)
        await stream.write(written.pop(0))
        return position

    monkeypatch.setattr(invoicing.run, "hold_feed", hold_feed_at_last)
    assert dict((await run(books, ENDS + GRACE_MS)).held) == {"changes_unread": 1}
    assert dict((await run(books, ENDS + GRACE_MS)).held) == {"changes_unread": 1}
    assert (await run(books, ENDS + GRACE_MS)).issued == 1
    assert await lines(stream.connection, FIRST) == OF_FIVE, "one came and one went"


async def test_bots_whose_periods_coincide_share_an_invoice(books: Store, stream: Stream) -> None:
    for bot_id, at_ms in (("sales", STARTS), ("help", STARTS), ("later", STARTS + DAY_MS)):
        await act(books, at_ms, bot_id).subscribe("standard")
    await stream.reach(NEXT)
    assert (await run(books, ENDS + DAY_MS + GRACE_MS)).issued == 2
    assert {line[2] for line in await lines(stream.connection, FIRST)} == {"sales", "help", None}
    assert {line[2] for line in await lines(stream.connection, SECOND)} == {"later", None}


async def test_a_period_in_which_nothing_costs_is_on_no_invoice(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("free")
    await stream.write(FIVE)
    await stream.reach(NEXT)
    summary = await run(books, NEXT)
    assert (summary.periods_ended, summary.issued, sum(summary.held.values())) == (2, 0, 0)


async def test_an_upgrade_is_prorated_to_the_second(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await act(books, STARTS + 10 * DAY_MS + 999).change("advanced")
    await stream.reach(ENDS)
    await run(books, ENDS + GRACE_MS)
    assert [line[4] for line in await lines(stream.connection, FIRST)] == [1000, 4200, 1040]


async def test_a_downgrade_waits_for_the_period_and_can_be_withdrawn(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("advanced")
    pending = await act(books, STARTS + DAY_MS).change("standard")
    assert (pending.after.state, pending.after.plan.id) == ("change_pending", "advanced")
    withdrawn = await act(books, STARTS + 2 * DAY_MS).withdraw()
    assert (withdrawn.after.state, withdrawn.after.pending) == ("active", None)
    await act(books, STARTS + 3 * DAY_MS).change("standard")
    await stream.reach(NEXT)
    assert (await run(books, NEXT + GRACE_MS)).issued == 2
    prices = [(await lines(stream.connection, number))[0][4] for number in (FIRST, SECOND)]
    assert prices == [6200, 3100]


async def test_a_preview_changes_nothing(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    look = act(books, STARTS + DAY_MS)
    previewed = await type(look)(*(books, "acme", "sales", look.at_ms, "ada"), confirmed=False).change(
        "advanced"
    )
    assert previewed.after.plan.id == "advanced"
    assert previewed == await look.change("advanced")


async def test_cancelled_now_bills_what_was(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await stream.write(FIVE)
    await act(books, STARTS + 3 * HOUR_MS).cancel(now=True)
    await stream.reach(ENDS)
    assert (await run(books, ENDS)).issued == 1
    assert [line[:5] for line in await lines(stream.connection, FIRST)] == [
        ("price", "price", "sales", 1, 13),
        ("usage", "included", "sales", 1, 0),
        ("usage", "tier", "sales", 2, 100),
        ("tax", "other", None, 0, 23),
    ]
    with pytest.raises(NotAllowed):
        await act(books, ENDS).cancel(now=True)


async def test_a_late_record_is_adjusted_on_the_next_invoice(issued: Store, stream: Stream) -> None:
    await stream.write([Record("late", STARTS + 9 * HOUR_MS), Record("s0", STARTS, status="void")])
    await stream.write([Record("later", ENDS - 1), Record("moved", ENDS)])
    await stream.reach(NEXT)
    assert (await run(issued, NEXT + GRACE_MS)).issued == 1
    assert ("adjustment", "other", "sales", 0, 25, 2) in await lines(stream.connection, SECOND)
    assert await lines(stream.connection, FIRST) == OF_FIVE
    await stream.write([Record("moved", ENDS - 1)])
    await stream.reach(ms("2026-04-15"))
    await run(issued, ms("2026-04-15") + GRACE_MS)
    third = await lines(stream.connection, "QH-2026-000003")
    assert ("adjustment", "other", "sales", 0, 25, 1) in third, (
        "to where it moved, and from where it cost nothing"
    )


async def test_an_adjustment_has_an_invoice_of_its_own_where_none_will_come(
    issued: Store, stream: Stream
) -> None:
    await act(issued, ENDS + 1000).cancel(now=True)
    await stream.reach(NEXT)
    assert (await run(issued, NEXT)).issued == 1
    await stream.write([Record("s0", STARTS, status="void")])
    assert (await run(issued, NEXT)).issued == 1
    assert await lines(stream.connection, "QH-2026-000003") == [
        ("adjustment", "other", "sales", 0, -25, 0),
        ("tax", "other", None, 0, -5, 0),
    ]
    assert (await run(issued, NEXT)).issued == 0


async def test_each_corrected_period_has_an_adjustment_invoice_of_its_own(
    issued: Store, stream: Stream
) -> None:
    await stream.write(Record(f"n{n}", ENDS + n * HOUR_MS) for n in range(3))
    await stream.reach(NEXT)
    await act(issued, NEXT + 1000).cancel(now=True)
    assert (await run(issued, NEXT + GRACE_MS)).issued == 1
    await stream.reach(NEXT + GRACE_MS)
    assert (await run(issued, NEXT + GRACE_MS + 1000)).issued == 1
    await stream.write([Record("s0", STARTS, status="void"), Record("n0", ENDS, status="void")])
    assert (await run(issued, NEXT + GRACE_MS + 2000)).issued == 2
    adjusted = [await lines(stream.connection, f"QH-2026-00000{number}") for number in (4, 5)]
    assert [[line[4] for line in found if line[0] == "adjustment"] for found in adjusted] == [[-25], [-50]]
    assert await stream.connection.fetch("select * from invoicing.invoice_to_review") == []


async def test_what_a_void_invoice_carried_is_carried_by_that_which_takes_its_place(
    issued: Store, stream: Stream
) -> None:
    await stream.write([Record("late", STARTS + 9 * HOUR_MS)])
    await give_credit(issued, "acme", 500, "outage", "case 7", at_ms=ENDS + GRACE_MS, actor="ada")
    await stream.reach(NEXT)
    assert (await run(issued, NEXT + GRACE_MS)).issued == 1
    carried = await lines(stream.connection, SECOND)
    assert {line[0] for line in carried} == {"price", "adjustment", "credit", "tax"}
    with pytest.raises(NotAllowed, match=SECOND):
        await void(issued, FIRST, "first", at_ms=NEXT + GRACE_MS, actor="ada")
    await void(issued, SECOND, "address", at_ms=NEXT + GRACE_MS, actor="ada")
    assert (await run(issued, NEXT + GRACE_MS)).issued == 1
    assert await lines(stream.connection, "QH-2026-000004") == carried


async def moved(store: Store, number: str) -> list[tuple[str | None, UUID, int]]:
    """The records that an invoice has come to earlier periods or leave them, and their revisions."""
    found = await reading.records(store, number)
    return [(one.change, one.session_id, one.revision) for one in found if one.change]


async def test_a_credit_note_tells_nothing_of_what_went_later(issued: Store, stream: Stream) -> None:
    late = Record("late", STARTS + 9 * HOUR_MS)
    await stream.write([late])
    await stream.reach(NEXT)
    await run(issued, NEXT + GRACE_MS)
    await void(issued, SECOND, "address", at_ms=NEXT + GRACE_MS, actor="ada")
    await stream.write([late])
    await run(issued, NEXT + GRACE_MS)
    assert await moved(issued, "QH-2026-000004") == [("came", late.session_id, 2)]
    await stream.write([replace(late, status="void")])
    await stream.reach(ms("2026-04-15"))
    await run(issued, ms("2026-04-15") + GRACE_MS)
    assert await moved(issued, "QH-2026-000005") == [("went", late.session_id, 2)]


async def test_a_record_that_comes_and_goes_is_told_each_time_once(issued: Store, stream: Stream) -> None:
    await act(issued, ENDS + 1000).cancel(now=True)
    await stream.reach(NEXT)
    await run(issued, NEXT)
    told = []
    for number, status in enumerate(("void", "final", "void", "final", "void"), 3):
        await stream.write([replace(FIVE[0], status=status)])
        await run(issued, NEXT)
        told += await moved(issued, f"QH-2026-{number:06}")
    assert [(change, revision) for change, _, revision in told] == [
        ("went", 1),
        ("came", 3),
        ("went", 3),
        ("came", 5),
        ("went", 5),
    ]


async def test_a_void_invoice_has_a_credit_note_and_its_period_is_invoiced_anew(
    issued: Store, stream: Stream
) -> None:
    note = await void(issued, FIRST, "wrong address", at_ms=ENDS + GRACE_MS, actor="ada")
    assert note == SECOND
    assert [line[4] for line in await lines(stream.connection, note)] == [-line[4] for line in OF_FIVE]
    assert (await run(issued, ENDS + GRACE_MS)).issued == 1
    assert await lines(stream.connection, "QH-2026-000003") == OF_FIVE
    with pytest.raises(NotAllowed, match="void"):
        await void(issued, FIRST, "again", at_ms=ENDS + GRACE_MS, actor="ada")


async def test_a_credit_is_a_line_of_the_next_invoice_and_given_once(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    for _ in range(2):
        await give_credit(books, "acme", 500, "outage", "case 7", at_ms=STARTS, actor="ada")
    with pytest.raises(Conflict, match="case 7"):
        await give_credit(books, "acme", 501, "outage", "case 7", at_ms=STARTS, actor="ada")
    await stream.reach(NEXT)
    await run(books, NEXT + GRACE_MS)
    assert ("credit", "other", None, 0, -500, 0) in await lines(stream.connection, FIRST)
    assert [line[0] for line in await lines(stream.connection, SECOND)] == ["price", "tax"]


async def test_payments_make_an_invoice_paid(issued: Store) -> None:
    pay = {"at_ms": ENDS + 2 * GRACE_MS, "actor": "bank"}
    assert (await mark_paid(issued, FIRST, 3000, "t1", **pay)).status == "final"
    assert (await mark_paid(issued, FIRST, 3000, "t1", **pay)).paid_minor == 3000
    assert (await mark_paid(issued, FIRST, 900, "t2", **pay)).status == "paid"
    assert (await mark_paid(issued, FIRST, -40, "t3", **pay)).status == "final"
    with pytest.raises(Conflict, match="t1"):
        await mark_paid(issued, FIRST, 3001, "t1", **pay)
    with pytest.raises(NotAllowed, match="refunded"):
        await mark_paid(issued, FIRST, -4000, "t4", **pay)


async def test_who_does_not_pay_is_past_due_until_it_is_paid(issued: Store, stream: Stream) -> None:
    overdue = ENDS + GRACE_MS + 14 * DAY_MS + 1
    await run(issued, overdue)
    with pytest.raises(NotAllowed, match="past_due"):
        await act(issued, overdue + 1000).change("advanced")
    await mark_paid(issued, FIRST, 3870, "t1", at_ms=overdue + 2000, actor="bank")
    await run(issued, overdue + 3000)
    assert (await act(issued, overdue + 4000).change("advanced")).after.state == "active"


async def test_an_invoice_in_the_customers_favour_is_never_overdue(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await give_credit(books, "acme", 10_000, "outage", "case 7", at_ms=STARTS, actor="ada")
    await stream.reach(ENDS)
    assert (await run(books, ENDS + GRACE_MS)).issued == 1
    assert (await run(books, ENDS + GRACE_MS + 14 * DAY_MS + 1)).accounts == 0


async def test_what_was_issued_stays(issued: Store, stream: Stream) -> None:
    for change in (
        "update invoicing.invoice set total_minor = 0",
        "delete from invoicing.invoice",
        "update invoicing.invoice_line set amount_minor = 0",
        "delete from invoicing.invoice_line",
        "insert into invoicing.invoice_line (invoice_id, line_number, kind, basis, quantity, tax_percent, "
        "amount_minor) select invoice_id, 99, 'credit', 'other', 0, 0, -1 from invoicing.invoice",
    ):
        with pytest.raises(Exception, match="issued"):
            await stream.connection.execute(change)


async def test_one_account_that_fails_does_not_stop_the_others(books: Store, stream: Stream) -> None:
    await add_account(books, "zeta", name="Zeta \U0001f9ff")
    for account_id in ("acme", "zeta"):
        await act(books, STARTS, account_id=account_id).subscribe("standard")
    await stream.connection.execute("update invoicing.account set currency = 'USD' where account_id = 'acme'")
    await stream.reach(ENDS)
    summary = await run(books, ENDS + GRACE_MS)
    assert (summary.issued, dict(summary.held)) == (0, {"currency_differs": 1, "font_missing": 1})
    await stream.connection.execute("update invoicing.account set currency = 'EUR', name = 'Zeta'")
    assert (await run(books, ENDS + GRACE_MS)).issued == 2


async def test_subscriptions_of_a_bot_do_not_overlap(issued: Store, stream: Stream) -> None:
    with pytest.raises(Conflict, match="which is active"):
        await act(issued, STARTS + DAY_MS).subscribe("free")
    for table, columns, constraint in (
        ("subscription", SUBSCRIPTION, "one_subscription_at_a_time"),
        ("slice", SLICE, "one_plan_at_a_time"),
    ):
        with pytest.raises(asyncpg.ExclusionViolationError, match=constraint):
            await stream.connection.execute(
                f"insert into invoicing.{table} ({columns}) select {columns} from invoicing.{table}"
            )


async def test_a_moved_account_ends_the_period_in_its_old_zone(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    async with books.transaction() as connection:
        await people.put_zone(connection, "acme", STARTS + DAY_MS, "Asia/Tokyo")
    await stream.reach(NEXT)
    await run(books, NEXT)
    await run(books, NEXT + GRACE_MS)
    rows = await stream.connection.fetch(
        "select upper(during) as to_at, document ->> 'time_zone' as zone from invoicing.invoice order by 1"
    )
    assert [(in_ms(row["to_at"]), row["zone"]) for row in rows] == [
        (ENDS, "UTC"),
        (NEXT - 9 * HOUR_MS, "Asia/Tokyo"),
    ]


async def test_an_enterprise_account_is_metered_and_not_invoiced(books: Store, stream: Stream) -> None:
    await add_account(books, "big", plan_kind="enterprise", tax_percent=Decimal(0))
    async with books.transaction() as connection:
        contract = plan(id="custom", kind="contract", price=None, may_go_beyond=False, tiers=None)
        await people.add_plan(connection, contract, "tests")
    with pytest.raises(NotAllowed, match="enterprise"):
        await act(books, STARTS, account_id="big").subscribe("standard")
    await act(books, STARTS, account_id="big").subscribe("custom")
    await stream.write([Record("b1", STARTS, account_id="big")])
    await stream.reach(NEXT)
    assert (await run(books, NEXT)).periods_ended == 2
    assert await stream.connection.fetchval("select count(*) from invoicing.invoice") == 0
    assert await stream.connection.fetchval("select sum(sessions) from invoicing.usage_quarter") == 1


async def test_the_aggregator_can_write_nothing_of_the_streams(books: Store) -> None:
    for change in (
        "delete from billing.session_record",
        "update billing.session_records set status = 'void'",
    ):
        with pytest.raises(InvoicingError, match="permission denied"):
            async with books.transaction() as connection:
                await connection.execute(change)


async def test_a_bot_subscribed_as_of_an_invoiced_period_is_on_the_next_invoice(
    issued: Store, stream: Stream
) -> None:
    await act(issued, STARTS, "support").subscribe("standard")
    await stream.reach(NEXT)
    assert (await run(issued, NEXT + GRACE_MS)).issued == 1
    adjusted = [line for line in await lines(stream.connection, SECOND) if line[0] == "adjustment"]
    assert adjusted == [("adjustment", "other", "support", 0, 3100, 0)]
