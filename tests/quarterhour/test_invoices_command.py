"""The commands of the aggregator as a user runs them, on a real store."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from invoicing import issuing
from invoicing.catalogue import shipped
from invoicing.model import Document
from quarterhour.cli import main
from tests.invoicing.stream import Record, Stream
from tests.invoicing.times import at, ms

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STARTS, ENDS = ms("2026-01-15"), ms("2026-02-15")
AS_OF = "2026-02-16T00:00:00Z"
NUMBER = "EX-2026-000001"
ACME = [
    *("accounts", "set", "acme", "--name", "Acme Ltd", "--address", "1 Road", "--address", "London"),
    *("--country", "gb", "--tax-percent", "20", "--currency", "USD", "--zone", "UTC", "--actor", "ada"),
]
SALES = ["--account", "acme", "--bot", "sales"]

Invoke = Callable[..., Awaitable[Result]]


@pytest.fixture
async def stream(database: str) -> AsyncIterator[Stream]:
    connection = await asyncpg.connect(database)
    yield Stream(connection)
    await connection.close()


@pytest.fixture
def quarterhour(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Runs a command on the test's database, in an empty folder."""
    monkeypatch.setenv("QUARTERHOUR_POSTGRES_DSN", database)
    monkeypatch.chdir(tmp_path)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, list(arguments))

    return invoke


class Commands:
    """Commands that must do, and commands that must not."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    async def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command answers with status 0, one object a line."""
        result = await self._invoke(*arguments)
        assert result.exit_code == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    async def row(self, *arguments: str) -> dict[str, Any]:
        (row,) = await self.rows(*arguments)
        return row

    async def text(self, *arguments: str) -> str:
        result = await self._invoke(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    async def refused(self, status: int, *arguments: str) -> str:
        """The message of a command that ends with this status and says nothing else."""
        result = await self._invoke(*arguments)
        assert (result.exit_code, result.stdout) == (status, ""), result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr


@pytest.fixture
async def empty(quarterhour: Invoke) -> Commands:
    return Commands(quarterhour)


@pytest.fixture
async def commands(empty: Commands) -> Commands:
    """With the shipped catalogue and one account."""
    await empty.rows("catalogue", "apply", "--shipped", "--actor", "ada")
    await empty.rows(*ACME)
    return empty


@pytest.fixture
async def invoiced(commands: Commands, stream: Stream) -> Commands:
    """With a bot whose first period, of 1000 sessions beyond the allowance, is invoiced."""
    since = ["--at", "2026-01-15T00:00:00Z", "--confirm"]
    await commands.rows("subscriptions", "subscribe", *SALES, "--plan", "advanced", *since)
    await stream.write(Record(f"s{n}", STARTS + n * 60_000) for n in range(4_000))
    await stream.write(
        [Record("a", STARTS, kind="alert"), Record("late", ENDS), Record("x", STARTS, "nobody")]
    )
    await stream.reach(ENDS + 3 * DAY_MS)
    summary = await commands.row("invoices", "run", "--as-of", AS_OF)
    assert (summary["issued"], summary["periods_ended"], summary["failures"]) == (1, 1, 0)
    return commands


# -- The catalogue


async def test_a_catalogue_is_applied_once_and_never_changed(empty: Commands, tmp_path: Path) -> None:
    rows = await empty.rows("catalogue", "apply", "--shipped")
    assert [(row["plan"], row["done"]) for row in rows] == [
        (plan, "added") for plan in ("free", "standard", "advanced", "enterprise")
    ]
    file = tmp_path / "plans.toml"
    file.write_text(shipped())
    assert {row["done"] for row in await empty.rows("catalogue", "apply", str(file))} == {"was there"}
    file.write_text(shipped().replace('"100.00"', '"90.00"'))
    assert "plan_differs: plan 'standard' version 1: " in await empty.refused(
        1, "catalogue", "apply", str(file)
    )
    standard = file.read_text().partition('id = "standard"\n')
    file.write_text(standard[0] + standard[1] + standard[2].replace("version = 1", "version = 2", 1))
    rows = await empty.rows("catalogue", "apply", str(file))
    assert {(row["plan"], row["version"]) for row in rows if row["done"] == "added"} == {("standard", 2)}
    shown = {(row["plan"], row["version"]): row for row in await empty.rows("catalogue", "show")}
    assert len(shown) == 5
    assert (shown["standard", 1]["price"], shown["standard", 2]["price"]) == ("100", "90")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('price = "100.00"\n', "", "plan 'standard' version 1: price: a paid plan needs one"),
        ('"100.00"', '"-1"', "plan 'standard' version 1: price: '-1'"),
        ('currency = "USD"', 'currency = "XXX"', "there is no currency 'XXX'"),
        ("[seller]", "[seller", "is no TOML"),
    ],
)
async def test_a_wrong_catalogue_is_refused_by_plan_and_field(
    empty: Commands, tmp_path: Path, before: str, after: str, said: str
) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(shipped().replace(before, after, 1))
    message = await empty.refused(2, "catalogue", "apply", str(file))
    assert message.startswith("quarterhour: wrong_catalogue: ") and said in message
    assert await empty.rows("catalogue", "show") == []


async def test_a_catalogue_needs_a_file_that_can_be_read(empty: Commands) -> None:
    assert "cannot read nowhere.toml" in await empty.refused(2, "catalogue", "apply", "nowhere.toml")
    assert "either a FILE or --shipped" in await empty.refused(2, "catalogue", "apply")


# -- Accounts


async def test_an_account_is_set_changed_and_has_a_history(commands: Commands) -> None:
    (account,) = await commands.rows("accounts", "list")
    assert (account["country"], account["tax_percent"], account["seller_id"]) == ("GB", "20", "example")
    changed = await commands.row("accounts", "set", "acme", "--tax-percent", "8.875", "--actor", "bob")
    assert changed == {**account, "tax_percent": "8.875"}
    history = await commands.rows("accounts", "history", "acme")
    assert [(row["event"], row["actor"]) for row in history] == [
        ("set_account", "ada"),
        ("set_account", "bob"),
    ]
    assert history[1]["details"] == {"tax_percent": "8.875"}


async def test_an_account_moves_to_another_time_zone_from_a_moment_on(commands: Commands) -> None:
    moved = ["accounts", "set", "acme", "--zone", "Asia/Kathmandu", "--from"]
    account = await commands.row(*moved, "2026-03-01T00:00:00.500Z")
    assert account["zones"] == [
        {"from": "1970-01-01T00:00:00.000Z", "time_zone": "UTC"},
        {"from": "2026-03-01T00:00:00.000Z", "time_zone": "Asia/Kathmandu"},
    ]
    assert await commands.row(*moved, "2026-04-01T00:00:00Z") == account
    back = ["accounts", "set", "acme", "--zone", "UTC", "--from", "2026-02-01T00:00:00Z"]
    assert "not_allowed: an account moves" in await commands.refused(1, *back)


@pytest.mark.parametrize(
    ("status", "option", "value", "said"),
    [
        (2, "--currency", "XXX", "'--currency': there is no currency 'XXX'"),
        (2, "--zone", "Mars/Olympus", "'--zone': there is no time zone 'Mars/Olympus'"),
        (2, "--country", "ZZ", "'--country': there is no country 'ZZ'"),
        (2, "--tax-percent", "twenty", "'--tax-percent': 'twenty' is not a decimal number"),
        (2, "--tax-percent", "100.1", "wrong_account: 100.1 is no tax rate"),
        (2, "--tax-percent", "1.2345", "wrong_account: 1.2345 is no tax rate"),
        (2, "--name", "", "wrong_account: name and address are lines of printable text"),
        (2, "--from", "yesterday", "'--from': 'yesterday' is not a time"),
        (2, "--from", "2026-01-01T00:00:00Z", "--from goes with --zone"),
        (2, "--seller", "nobody", "unknown: there is no seller 'nobody'"),
        (1, "--currency", "EUR", "currency_fixed: account acme is in USD"),
    ],
)
async def test_what_an_account_cannot_have_is_said_by_its_option(
    commands: Commands, status: int, option: str, value: str, said: str
) -> None:
    before = await commands.rows("accounts", "list")
    assert said in await commands.refused(status, "accounts", "set", "acme", option, value)
    assert await commands.rows("accounts", "list") == before


async def test_a_new_account_needs_its_fields_and_a_seller(empty: Commands) -> None:
    assert "unknown: which seller is meant?" in await empty.refused(2, *ACME)
    await empty.rows("catalogue", "apply", "--shipped")
    message = await empty.refused(2, "accounts", "set", "acme", "--name", "Acme Ltd", "--zone", "UTC")
    assert "it needs address, country, tax_percent, currency" in message
    assert "unknown: there is no account 'acme'" in await empty.refused(2, "accounts", "history", "acme")


async def test_the_kind_of_plan_stays_while_bots_are_subscribed(commands: Commands) -> None:
    await commands.rows("subscriptions", "subscribe", *SALES, "--plan", "free", "--confirm")
    kind = ["accounts", "set", "acme", "--plan-kind", "enterprise"]
    assert "not_allowed: the plan kind cannot change while" in await commands.refused(1, *kind)


# -- Subscriptions


async def test_an_act_is_only_shown_until_it_is_confirmed(quarterhour: Invoke, commands: Commands) -> None:
    act = ["subscriptions", "subscribe", *SALES, "--plan", "standard"]
    result = await quarterhour(*act)
    assert result.stderr == "nothing was changed: add --confirm to do this\n"
    preview = json.loads(result.stdout)
    assert (preview["confirmed"], preview["before"], preview["after"]["state"]) == (False, None, "trial")
    assert await commands.rows("subscriptions", "list") == []
    done = await commands.row(*act, "--confirm", "--actor", "ada")
    assert (done["confirmed"], done["after"]["plan"], done["net_minor"]) == (True, "standard", 0)
    (row,) = await commands.rows("subscriptions", "list", "--account", "acme")
    assert (row["bot_id"], row["state"], row["renews_at"]) == ("sales", "trial", row["to"])
    assert (await commands.rows("accounts", "history", "acme"))[-1]["actor"] == "ada"


async def test_an_upgrade_is_shown_with_its_price_to_the_second_and_a_downgrade_waits(
    commands: Commands,
) -> None:
    since = ["--at", "2026-01-15T00:00:00Z", "--confirm"]
    await commands.rows("subscriptions", "subscribe", *SALES, "--plan", "free", *since)
    upgrade = ["subscriptions", "change", *SALES, "--plan", "advanced", "--at", "2026-02-01T00:00:00Z"]
    shown = await commands.row(*upgrade)
    # 14 of 31 days of 500.00
    assert [line["amount_minor"] for line in shown["lines"]] == [0, 22581]
    assert "22581" not in await commands.text(*upgrade, "--format", "table")
    assert "225.81 USD" in await commands.text(*upgrade, "--format", "table")
    await commands.rows(*upgrade, "--confirm")
    down = [*upgrade[:7], "free", "--at", "2026-02-02T00:00:00Z", "--confirm"]
    assert (await commands.row(*down))["after"]["pending_plan"] == "free"
    back = ["subscriptions", "withdraw", *SALES, "--at", "2026-02-03T00:00:00Z", "--confirm"]
    assert (await commands.row(*back))["after"]["state"] == "active"
    end = ["subscriptions", "cancel", *SALES, "--at", "2026-02-04T00:00:00Z", "--confirm"]
    assert (await commands.row(*end))["after"]["state"] == "cancelling"
    now = ["subscriptions", "cancel", *SALES, "--now", "--at", "2026-02-05T00:00:00Z", "--confirm"]
    assert (await commands.row(*now))["after"]["state"] == "cancelled"


@pytest.mark.parametrize(
    ("status", "act", "said"),
    [
        (2, ["subscribe", "--account", "nobody", "--bot", "b", "--plan", "free"], "no account 'nobody'"),
        (
            2,
            ["subscribe", *SALES, "--plan", "gold"],
            "unknown: there is no plan 'gold'; there are: advanced 1",
        ),
        (2, ["subscribe", *SALES, "--plan", "free", "--plan-version", "7"], "no plan 'free version 7'"),
        (1, ["subscribe", *SALES, "--plan", "enterprise"], "not_allowed: plan enterprise is contract"),
        (2, ["change", *SALES, "--plan", "free"], "unknown: account acme has no bot 'sales'"),
        (2, ["cancel", *SALES], "unknown: account acme has no bot 'sales'"),
        (2, ["subscribe", *SALES, "--plan", "free", "--at", "soon"], "'--at': 'soon' is not a time"),
        (2, ["subscribe", *SALES, "--plan", "free", "--confirm", "--at", "2096-01-01T00:00:00Z"], "future"),
        (2, ["list", "--account", "nobody"], "unknown: there is no account 'nobody'"),
    ],
)
async def test_an_act_that_cannot_be_is_refused(
    commands: Commands, status: int, act: list[str], said: str
) -> None:
    assert said in await commands.refused(status, "subscriptions", *act)


async def test_a_bot_has_one_subscription_at_a_time(commands: Commands) -> None:
    again = ["subscriptions", "subscribe", *SALES, "--plan", "free", "--confirm", "--at"]
    await commands.rows(*again, "2026-01-15T00:00:00Z")
    for moment in ("2026-01-10T00:00:00Z", "2026-01-15T00:00:00Z", "2026-02-20T00:00:00Z"):
        message = await commands.refused(1, *again, moment)
        assert "conflict: bot sales has a subscription then or later" in message
    assert len(await commands.rows("subscriptions", "list")) == 1


async def test_plans_of_another_currency_do_not_fit(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(shipped().replace('"USD"', '"EUR"').replace("version = 1", "version = 2"))
    await commands.rows("catalogue", "apply", str(file))
    act = ["subscriptions", "subscribe", *SALES, "--plan", "free"]
    assert "conflict: plan free is in EUR, account acme in USD" in await commands.refused(1, *act)


# -- Invoices


async def test_an_invoice_is_listed_and_shown_with_its_lines_and_records(invoiced: Commands) -> None:
    (row,) = await invoiced.rows("invoices", "list", "--account", "acme")
    assert row["invoice"] == NUMBER
    assert (row["from"], row["to"]) == ("2026-01-15T00:00:00.000Z", "2026-02-15T00:00:00.000Z")
    # 500.00 and 1,000 sessions at 0.16, and 20 % of both.
    assert (row["total_minor"], row["paid_minor"], row["currency"]) == (79200, 0, "USD")
    shown = await invoiced.row("invoices", "show", NUMBER, "--records")
    lines = shown.pop("lines")
    assert shown == {**row, "payments": []}
    told = [(line["kind"], line["basis"], line["quantity"], line["amount_minor"]) for line in lines]
    assert told == [
        ("price", "price", 1, 50000),
        ("usage", "included", 3000, 0),
        ("usage", "tier", 1000, 16000),
        ("alert", "included", 1, 0),
        ("tax", "other", 0, 13200),
    ]
    assert [len(line["records"]) for line in lines] == [0, 3000, 1000, 1, 0]
    assert lines[2]["records"][0]["session_id"] == str(Record("s3000", 0).session_id)
    assert "792.00 USD" in await invoiced.text("invoices", "show", NUMBER, "--format", "table")
    assert "records" not in (await invoiced.row("invoices", "show", NUMBER))["lines"][0]


async def test_what_is_held_is_listed_with_its_reason(invoiced: Commands, stream: Stream) -> None:
    await stream.write([Record("open", ENDS + 1, status="open")])
    await invoiced.rows(
        "subscriptions", "cancel", *SALES, "--now", "--at", "2026-02-16T00:00:00Z", "--confirm"
    )
    summary = await invoiced.row("invoices", "run", "--as-of", "2026-02-16T12:00:00Z")
    assert summary["held"] == {"in_grace": 1}
    summary = await invoiced.row("invoices", "run", "--as-of", "2026-02-17T00:00:00Z")
    assert summary["held"] == {"records_open": 1}
    draft, records = await invoiced.rows("invoices", "list", "--held")
    assert (draft["what"], draft["code"], draft["account_id"]) == ("draft", "records_open", "acme")
    assert (records["what"], records["code"], records["sessions"]) == ("records", "unknown_account", 1)
    assert (await invoiced.row("invoices", "list", "--status", "draft"))["invoice"] == draft["invoice"]
    assert "is a draft" in await invoiced.refused(1, "invoices", "download", draft["invoice"])


async def test_a_period_that_is_not_over_has_no_invoice(invoiced: Commands) -> None:
    summary = await invoiced.row("invoices", "run", "--as-of", "2026-03-14T23:59:59Z")
    assert (summary["periods_ended"], summary["issued"]) == (0, 0)
    assert "is in the future" in await invoiced.refused(
        2, "invoices", "run", "--as-of", "2096-01-01T00:00:00Z"
    )
    assert len(await invoiced.rows("invoices", "list")) == 1


async def test_an_invoice_without_grace_is_issued_at_its_end(
    commands: Commands, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = ["--at", "2026-01-15T00:00:00Z", "--confirm"]
    await commands.rows("subscriptions", "subscribe", *SALES, "--plan", "advanced", *since)
    await stream.reach(ENDS)
    end = ["invoices", "run", "--as-of", "2026-02-15T00:00:00Z"]
    assert (await commands.row(*end))["held"] == {"in_grace": 1}
    monkeypatch.setenv("QUARTERHOUR_INVOICE_GRACE", "0s")
    assert (await commands.row(*end))["issued"] == 1


async def test_a_download_is_the_stored_pdf_or_csv(
    invoiced: Commands, tmp_path: Path, stream: Stream
) -> None:
    await invoiced.text("invoices", "download", NUMBER)
    pdf = (tmp_path / f"{NUMBER}.pdf").read_bytes()
    stored = await stream.connection.fetchval(
        "select pdf_sha256 from invoicing.invoice where number = $1", NUMBER
    )
    assert hashlib.sha256(pdf).hexdigest() == stored
    lines = await invoiced.text("invoices", "download", NUMBER, "--format", "csv", "--output", "-")
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert [row["amount"] for row in rows] == ["500.00", "0.00", "160.00", "0.00", "132.00"]
    await invoiced.text("invoices", "download", NUMBER, "--format", "csv", "--records", "--output", "r.csv")
    records = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert len(records) == 4001 and records[0]["started_at"] == "2026-01-15T00:00:00.000Z"
    assert "cannot write" in await invoiced.refused(
        2, "invoices", "download", NUMBER, "--output", "no/such.pdf"
    )
    assert "--records goes with --format csv" in await invoiced.refused(
        2, "invoices", "download", NUMBER, "--records"
    )


async def test_payments_add_up_and_count_once(invoiced: Commands) -> None:
    pay = ["invoices", "mark-paid", NUMBER, "--reference", "bank-1", "--amount"]
    for _ in range(2):
        balance = await invoiced.row(*pay, "92.00")
        assert (balance["paid_minor"], balance["status"]) == (9200, "final")
    assert "conflict: reference 'bank-1' is known" in await invoiced.refused(1, *pay, "92.01")
    rest = ["invoices", "mark-paid", NUMBER, "--reference", "bank-2", "--amount", "700.5"]
    assert (await invoiced.row(*rest))["status"] == "paid"
    back = ["invoices", "refund", NUMBER, "--reference", "bank-3", "--amount"]
    assert (await invoiced.row(*back, "0.50"))["paid_minor"] == 79200
    assert "not_allowed: more than was paid" in await invoiced.refused(1, *back[:-2], "x", "--amount", "1000")
    shown = await invoiced.row("invoices", "show", NUMBER)
    assert [payment["amount_minor"] for payment in shown["payments"]] == [9200, 70050, -50]
    table = await invoiced.text("invoices", "list", "--format", "table")
    assert re.search(r"paid .* 792\.00 USD +792\.00 USD", table)


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ("0", "'0' is no amount above 0"),
        ("-1", "'-1' is not a decimal number"),
        ("1e3", "'1e3' is not a decimal number"),
        ("1,5", "'1,5' is not a decimal number"),
        ("nan", "'nan' is not a decimal number"),
        ("١", "'١' is not a decimal number"),
        ("12345678901234", "'12345678901234' is not a decimal number"),
        ("0.001", "wrong_price: 0.001 is finer than USD allows"),
    ],
)
async def test_a_wrong_amount_is_refused(invoiced: Commands, amount: str, said: str) -> None:
    for command in ("mark-paid", "refund"):
        act = ["invoices", command, NUMBER, "--reference", "r", "--amount", amount]
        assert said in await invoiced.refused(2, *act)
    credit = [
        "invoices",
        "credit",
        "--account",
        "acme",
        "--reason",
        "r",
        "--reference",
        "r",
        "--amount",
        amount,
    ]
    assert said in await invoiced.refused(2, *credit)


async def test_a_credit_is_on_the_next_invoice(invoiced: Commands) -> None:
    credit = [
        "invoices",
        "credit",
        "--account",
        "acme",
        "--amount",
        "10.00",
        "--reason",
        "late",
        "--reference",
    ]
    for _ in range(2):
        await invoiced.rows(*credit, "t-1", "--at", "2026-02-20T00:00:00Z")
    await invoiced.rows(
        "subscriptions", "cancel", *SALES, "--now", "--at", "2026-02-17T00:00:00Z", "--confirm"
    )
    await invoiced.row("invoices", "run", "--as-of", "2026-02-20T00:00:00Z")
    newest = (await invoiced.rows("invoices", "list", "--status", "final"))[0]
    lines = (await invoiced.row("invoices", "show", newest["invoice"]))["lines"]
    assert [line["amount_minor"] for line in lines if line["kind"] == "credit"] == [-1000]
    assert "unknown: there is no account" in await invoiced.refused(
        2, *credit[:3], "nobody", *credit[4:], "t"
    )


async def test_a_void_invoice_has_a_credit_note_and_its_period_is_invoiced_anew(invoiced: Commands) -> None:
    void = ["invoices", "void", NUMBER, "--reason", "wrong address", "--at", "2026-02-17T00:00:00Z"]
    done = await invoiced.row(*void)
    assert done == {"invoice": NUMBER, "status": "void", "credit_note": "EX-2026-000002"}
    assert "not_allowed" in await invoiced.refused(1, *void)
    assert (await invoiced.row("invoices", "run", "--as-of", "2026-02-18T00:00:00Z"))["issued"] == 1
    totals = {row["invoice"]: row["total_minor"] for row in await invoiced.rows("invoices", "list")}
    assert totals == {NUMBER: 79200, "EX-2026-000002": -79200, "EX-2026-000003": 79200}
    pay = ["invoices", "mark-paid", NUMBER, "--amount", "1", "--reference", "r"]
    assert "not_allowed" in await invoiced.refused(1, *pay)


@pytest.mark.parametrize(
    ("status", "arguments", "said"),
    [
        (2, ["list", "--account", "nobody"], "unknown: there is no account 'nobody'"),
        (2, ["list", "--held", "--account", "stranger"], "unknown: there is no account 'stranger'"),
        (2, ["list", "--held", "--status", "paid"], "--held lists drafts only"),
        (2, ["show", "EX-1"], "unknown: there is no invoice 'EX-1'"),
        (2, ["download", "EX-1"], "unknown: there is no invoice 'EX-1'"),
        (2, ["void", "EX-1", "--reason", "r"], "unknown: no invoice 'EX-1' was issued"),
        (
            2,
            ["mark-paid", "EX-1", "--amount", "1", "--reference", "r"],
            "unknown: there is no invoice 'EX-1'",
        ),
        (2, ["run", "--every", "often"], "'--every': a duration is"),
        (2, ["run", "--every", "1h", "--as-of", AS_OF], "--as-of and --every do not go together"),
    ],
)
async def test_a_wrong_question_is_refused(
    commands: Commands, status: int, arguments: list[str], said: str
) -> None:
    assert said in await commands.refused(status, "invoices", *arguments)


@pytest.mark.parametrize(("every", "runs"), [("1h", 1), ("50ms", 3)])
async def test_runs_go_on_until_they_are_stopped_and_each_tells_at_once(
    commands: Commands, every: str, runs: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quarterhour", "invoices", "run", "--every", every),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        lines = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(runs)]
    finally:
        process.terminate()
        await process.wait()
    assert all(json.loads(line)["failures"] == 0 for line in lines)


async def test_an_invoice_that_fails_stops_no_other_and_gives_status_1(
    invoiced: Commands, quarterhour: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    await invoiced.rows(*ACME[:2], "beta", *ACME[3:])
    for account in ("acme", "beta"):
        bot = ["--account", account, "--bot", "other", "--plan", "advanced"]
        since = ["--at", "2026-01-14T00:00:00Z", "--confirm"]
        await invoiced.rows("subscriptions", "subscribe", *bot, *since)
    render = issuing.render_pdf

    def fail_for_acme(document: Document) -> bytes:
        if document.account_id == "acme":
            raise ZeroDivisionError("planted")
        return render(document)

    monkeypatch.setattr(issuing, "render_pdf", fail_for_acme)
    result = await quarterhour("invoices", "run", "--as-of", "2026-02-17T00:00:00Z")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["issued"] == 1
    assert "quarterhour: internal_error: acme: ZeroDivisionError: planted" in result.stderr
    held = await invoiced.rows("invoices", "list", "--held", "--account", "acme")
    assert [row["code"] for row in held] == ["internal_error"]
    monkeypatch.undo()


# -- Usage


async def test_usage_is_that_of_the_current_period(
    quarterhour: Invoke, commands: Commands, stream: Stream
) -> None:
    now_ms = time.time_ns() // 1_000_000
    starts_ms = now_ms - 3 * DAY_MS
    since = ["--at", at(starts_ms).isoformat(), "--confirm"]
    await commands.rows("subscriptions", "subscribe", *SALES, "--plan", "advanced", *since)
    await stream.write(Record(f"s{n}", starts_ms + n * HOUR_MS) for n in range(1, 50))
    result = await quarterhour("usage", "--account", "acme")
    assert "quarterhour invoices run" in result.stderr
    await commands.rows("invoices", "run")
    row = await commands.row("usage", "--account", "acme")
    assert row["usage"]["used"] == 49 and row["usage"]["left"] == 3000 - 49 and row["alert"]["used"] == 0
    assert (row["plan"], row["owed_minor"], row["feed_has_unread"]) == ("advanced", 50000, False)
    assert "500.00 USD" in await commands.text("usage", "--account", "acme", "--format", "table")
    days = await commands.rows("usage", "--account", "acme", "--by-day")
    assert sum(day["usage"] for day in days) == 49 and len({day["day"] for day in days}) in (4, 5)
    assert "unknown: there is no account" in await commands.refused(2, "usage", "--account", "nobody")


# -- All of them


async def test_without_the_schema_and_without_a_store_the_way_on_is_said(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, empty: Commands
) -> None:
    monkeypatch.setenv("QUARTERHOUR_POSTGRES_DSN", empty_database)
    message = await empty.refused(1, "accounts", "list")
    assert "schema_missing" in message and "quarterhour migrate" in message
    monkeypatch.setenv("QUARTERHOUR_POSTGRES_DSN", "postgresql://127.0.0.1:1/none")
    assert "store_unreachable" in await empty.refused(3, "accounts", "list")
