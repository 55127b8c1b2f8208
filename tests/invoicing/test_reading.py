"""What people are told: usage, held records and invoices, compared with plain loops over the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date
from random import Random

import pytest

from invoicing import reading
from invoicing.errors import InvoicingError, NotAllowed, Unknown
from invoicing.model import SessionKind, Span
from invoicing.store import reports
from invoicing.store.connecting import Store
from invoicing.store.counting import count
from invoicing.store.feed import read_feed
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import ms
from tests.invoicing.world import (
    DAY_MS,
    GRACE_MS,
    HOUR_MS,
    act,
    add_account,
    free_plan,
    open_books,
    plan,
    run,
)

QUARTER_MS = HOUR_MS // 4
STARTS, ENDS, NEXT = ms("2026-01-15"), ms("2026-02-15"), ms("2026-03-15")
BOTS = ("sales", "support")


@pytest.fixture
async def books(store: Store) -> Store:
    await open_books(store, plan(), plan(id="advanced", price="62.00"), free_plan())
    await add_account(store)
    return store


def some_records(seed: int, from_ms: int, hours: int) -> list[Record]:
    """Records of two bots and kinds, many of them at the edges of quarter hours, a few void or open."""
    dice = Random(seed)
    quarters = [from_ms + dice.randrange(hours * 4) * QUARTER_MS for _ in range(400)]
    offsets = [dice.choice((-1, 0, 0, 1, 60_000, dice.randrange(QUARTER_MS))) for _ in quarters]
    return [
        Record(
            f"r{seed}-{place}",
            quarter + offset,
            bot_id=dice.choice(BOTS),
            kind=dice.choice(("usage", "usage", "alert")),
            status=dice.choice(("final",) * 8 + ("void", "open")),
        )
        for place, (quarter, offset) in enumerate(zip(quarters, offsets, strict=True))
    ]


def counted(records: Iterable[Record], bot_id: str, span: Span, status: str = "final") -> dict[str, int]:
    """The slow way."""
    return dict(
        Counter(
            record.kind
            for record in records
            if record.bot_id == bot_id
            and record.status == status
            and span.from_ms <= record.started_ms < span.to_ms
        )
    )


async def test_counts_of_any_span_are_those_of_a_loop_over_the_records(books: Store, stream: Stream) -> None:
    records = some_records(1, STARTS, 12)
    await stream.write(records)
    await read_feed(books, batch=37)
    dice = Random(2)
    edges = [STARTS + dice.randrange(12 * HOUR_MS) for _ in range(60)]
    edges += [STARTS + dice.randrange(48) * QUARTER_MS + dice.choice((-1, 0, 1)) for _ in range(60)]
    spans = [Span(*sorted(dice.sample(edges, 2))) for _ in range(150)]
    spans += [Span(edge, edge + length) for edge in edges for length in (0, 1, 1000, QUARTER_MS)]
    asked = [(dice.choice(BOTS), span) for span in spans]
    async with books.transaction() as connection:
        used = await count(connection, "count_usage", "acme", asked)
        still_open = await count(connection, "count_open", "acme", asked)
    assert used == [counted(records, *one) for one in asked]
    assert still_open == [counted(records, *one, "open") for one in asked]
    assert any(used) and any(still_open)


async def test_a_record_that_moves_is_counted_where_it_is_now(books: Store, stream: Stream) -> None:
    await stream.write([Record("a", STARTS + 1), Record("b", STARTS + 2)])
    await read_feed(books)
    moved = [Record("a", STARTS + HOUR_MS), Record("b", STARTS + 2, status="void")]
    await stream.write(moved)
    await read_feed(books)
    spans = [Span(STARTS, STARTS + HOUR_MS), Span(STARTS, STARTS + HOUR_MS + 1)]
    async with books.transaction() as connection:
        found = await count(connection, "count_usage", "acme", [("sales", span) for span in spans])
    assert found == [{}, {"usage": 1}]


async def test_usage_tells_what_is_used_left_beyond_and_owed(books: Store, stream: Stream) -> None:
    upgraded = STARTS + 10 * DAY_MS + 1_000
    await act(books, STARTS).subscribe("standard", bot_name="Sales bot")
    await act(books, upgraded).change("advanced")
    await act(books, STARTS, "support").subscribe("free")
    records = some_records(3, STARTS, 20 * 24)
    await stream.write(records)
    await read_feed(books)
    at_ms = STARTS + 20 * DAY_MS
    found = await reading.usage_of_account(books, "acme", at_ms)
    sales, support = found.bots
    first, second = Span(STARTS, upgraded), Span(upgraded, ENDS)
    by_slice = [counted(records, "sales", span) for span in (first, second)]
    (usage, alert) = sales.usage
    assert (sales.bot_name, support.bot_name) == ("Sales bot", "support")
    assert (usage.kind, usage.used, alert.used) == (
        SessionKind.USAGE,
        sum(slice_["usage"] for slice_ in by_slice),
        sum(slice_["alert"] for slice_ in by_slice),
    )
    assert usage.open == counted(records, "sales", Span(STARTS, ENDS), "open")["usage"]
    # Of 2 sessions in 31 days, 10 days and a second are 1 and 21 days are 2, each rounded up.
    assert (usage.allowance, usage.left) == (1 + 2, 0)
    assert usage.beyond == sum(slice_["usage"] for slice_ in by_slice) - 3
    assert usage.forecast == -(-usage.used * 31 // 20)
    assert sales.standing.plan.id == "advanced" and sales.standing.renews_ms == ENDS
    assert (support.standing.renews_ms, support.owed_minor) == (None, 0)
    assert sales.owed_minor == sum(line.amount_minor for line in sales.lines) > 3100
    billed = sum(line.quantity for line in sales.lines if line.kind in ("usage", "alert"))
    assert billed == usage.used + alert.used
    assert found.feed == reports.FeedStanding(
        len([record for record in records if record.status != "open"]), False, None
    )


async def test_what_is_owed_so_far_is_what_is_invoiced_when_nothing_comes_any_more(
    books: Store, stream: Stream
) -> None:
    await act(books, STARTS).subscribe("standard")
    await act(books, STARTS + 5 * DAY_MS).change("advanced")
    await stream.write(r for r in some_records(4, STARTS, 30 * 24) if r.status != "open")
    await read_feed(books)
    (before,) = (await reading.usage_of_account(books, "acme", ENDS - 1)).bots
    await stream.reach(ENDS)
    await run(books, ENDS + GRACE_MS)
    (invoice,) = await reading.invoices(books, "acme", "final")
    details = await reading.invoice(books, invoice.name)
    net = [line.amount_minor for line in details.lines if line.kind != "tax"]
    assert (invoice.during, sum(net)) == (before.standing.period, before.owed_minor)


async def test_usage_goes_on_where_no_run_has_ended_the_period(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await act(books, STARTS, "support").subscribe("standard")
    await act(books, STARTS + DAY_MS, "support").cancel(now=False)
    await act(books, STARTS + DAY_MS).change("free")
    await stream.write([Record("a", ENDS - 1), Record("b", ENDS), Record("c", NEXT - 1), Record("d", NEXT)])
    await read_feed(books)
    (sales,) = (await reading.usage_of_account(books, "acme", ENDS)).bots
    assert (sales.standing.period, sales.standing.plan.id) == (Span(ENDS, NEXT), "free")
    assert sales.usage[0].used == 2
    assert not (await run(books, ENDS)).failures
    assert (await reading.usage_of_account(books, "acme", ENDS)).bots == (sales,)


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Pacific/Chatham", "UTC", "America/St_Johns"])
async def test_days_are_those_of_the_account(books: Store, stream: Stream, zone: str) -> None:
    await add_account(books, "remote", zone)
    await act(books, STARTS + 1_000, account_id="remote").subscribe("standard")
    records = [
        Record(f"{record.name}-far", record.started_ms, "remote", "sales", record.kind, record.status)
        for record in some_records(5, STARTS, 5 * 24)
    ]
    await stream.write(records)
    await read_feed(books)
    at_ms = STARTS + 6 * DAY_MS
    days = await reading.usage_by_day(books, "remote", at_ms)
    assert [day.used for day in days] == [counted(records, "sales", day.during) for day in days]
    assert [day.day for day in days] == sorted({day.day for day in days})
    assert days[0].during.from_ms == STARTS + 1_000 and days[-1].during.from_ms <= at_ms
    (bot,) = (await reading.usage_of_account(books, "remote", at_ms)).bots
    assert sum(day.used.get(SessionKind.USAGE, 0) for day in days) == bot.usage[0].used


async def test_a_day_of_a_zone_with_45_minutes_begins_at_its_midnight(books: Store, stream: Stream) -> None:
    await add_account(books, "remote", "Asia/Kathmandu")
    await act(books, STARTS, account_id="remote").subscribe("standard")
    midnight = ms("2026-01-15T18:15:00Z")
    times = (midnight - 1, midnight, midnight + DAY_MS - 1)
    await stream.write(Record(f"n{at_ms}", at_ms, "remote") for at_ms in times)
    await read_feed(books)
    first, second = await reading.usage_by_day(books, "remote", midnight + DAY_MS - 1)
    assert (first.day, first.used) == (date(2026, 1, 15), {"usage": 1})
    assert (second.day, second.used) == (date(2026, 1, 16), {"usage": 2})


async def test_records_that_no_plan_covers_are_told_with_the_reason(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await act(books, ENDS - HOUR_MS).cancel(now=True)
    await stream.write(
        [
            Record("covered", STARTS),
            Record("before", STARTS - 1),
            Record("after", ENDS - HOUR_MS),
            Record("void", STARTS - 5, status="void"),
            Record("bot", STARTS, bot_id="other"),
            Record("bot-2", STARTS + HOUR_MS, bot_id="other", kind="alert"),
            Record("account", STARTS, account_id="nobody"),
            Record("gone", STARTS, account_id="ghost"),
        ]
    )
    await read_feed(books)
    await stream.write([Record("gone", STARTS, account_id="ghost", status="void")])
    await read_feed(books)
    assert await reports_of(books) == {
        ("acme", "other", "unknown_bot", Span(STARTS, STARTS + HOUR_MS + QUARTER_MS), 2),
        ("acme", "sales", "no_subscription", Span(STARTS - 1, ENDS - HOUR_MS + 1), 2),
        ("nobody", "sales", "unknown_account", Span(STARTS, STARTS + QUARTER_MS), 1),
    }
    assert {row[0] for row in await reports_of(books, "acme")} == {"acme"}
    with pytest.raises(Unknown):
        await reading.held(books, "ghost")


async def reports_of(store: Store, account_id: str | None = None) -> set[tuple[object, ...]]:
    _, unbilled = await reading.held(store, account_id)
    return {(row.account_id, row.bot_id, row.code, row.during, row.sessions) for row in unbilled}


async def test_a_draft_is_held_once_it_waits_for_more_than_time(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await run(books, ENDS)
    assert (await reading.held(books))[0] == []
    assert [draft.held_code for draft in await reading.invoices(books)] == ["in_grace"]
    await run(books, ENDS + GRACE_MS)
    (draft,) = (await reading.held(books))[0]
    assert (draft.held_code, draft.number, draft.during) == ("stream_behind", None, Span(STARTS, ENDS))
    assert (await reading.invoice(books, draft.name)).invoice == draft
    with pytest.raises(NotAllowed, match="is a draft"):
        await reading.document(books, draft.name)


async def test_lines_lead_to_records_also_where_they_came_and_went(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    records = [Record(f"s{n}", STARTS + n * HOUR_MS) for n in range(6)]
    await stream.write(records)
    await stream.reach(NEXT)
    await run(books, ENDS + GRACE_MS)
    (first,) = await reading.invoices(books, "acme", "final")
    behind = await reading.records(books, first.name)
    assert [(one.session_id, one.started_ms) for one in behind] == [
        (record.session_id, record.started_ms) for record in records
    ]
    assert Counter(one.line for one in behind) == {2: 2, 3: 2, 4: 2}
    assert {one.change for one in behind} == {None}
    late = [Record("s9", STARTS), Record("s10", STARTS)]
    await stream.write([Record("s0", STARTS, status="void"), Record("s5", STARTS + 1), *late])
    await run(books, NEXT + GRACE_MS)
    second = (await reading.invoices(books, "acme", "final"))[0]
    moved = {(one.change, one.session_id, one.kind) for one in await reading.records(books, second.name)}
    assert moved == {
        ("went", Record("s0", 0).session_id, "usage"),
        ("came", Record("s5", 0).session_id, "usage"),
        ("went", Record("s5", 0).session_id, "usage"),
        *(("came", record.session_id, "usage") for record in late),
    }


async def test_a_stored_pdf_is_the_one_that_was_issued(books: Store, stream: Stream) -> None:
    await act(books, STARTS).subscribe("standard")
    await stream.reach(ENDS)
    await run(books, ENDS + GRACE_MS)
    (invoice,) = await reading.invoices(books)
    issued = await reading.document(books, invoice.name)
    assert issued.pdf.startswith(b"%PDF")
    assert (issued.document.number, issued.document.total_minor) == (invoice.number, invoice.total_minor)
    await stream.connection.execute(
        "alter table invoicing.invoice disable trigger issued_stays;"
        "update invoicing.invoice set pdf = pdf || '\\x00';"
    )
    with pytest.raises(InvoicingError) as caught:
        await reading.document(books, invoice.name)
    assert caught.value.code == "pdf_differs"


async def test_how_far_the_feed_is_read_is_told(books: Store, stream: Stream) -> None:
    await stream.write([Record("a", STARTS), Record("b", STARTS)])
    assert (await reading.usage_of_account(books, "acme", STARTS)).feed == reports.FeedStanding(0, True, None)
    await read_feed(books)
    await stream.reach(ENDS)
    assert (await reading.usage_of_account(books, "acme", STARTS)).feed == reports.FeedStanding(
        2, False, ENDS
    )


async def test_who_is_not_there_is_told(books: Store) -> None:
    for asked in (
        reading.invoices(books, "nobody"),
        reading.subscriptions(books, "nobody"),
        reading.history(books, "nobody"),
        reading.usage_of_account(books, "nobody", STARTS),
        reading.usage_by_day(books, "nobody", STARTS),
        reading.invoice(books, "QH-2026-000001"),
        reading.document(books, "QH-2026-000001"),
        reading.records(books, "QH-2026-000001"),
    ):
        with pytest.raises(Unknown):
            await asked
