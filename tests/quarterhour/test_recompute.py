"""`quarterhour recompute`: what a version of the rule changes, by record and account, and asking for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from quarterhour.cli import main
from schemas.times import format_time_ms, parse_time_ms
from sinks.postgres import PostgresLedger
from streams.engine import Engine
from tests.streams.stage import event, until
from tests.streams.test_engine import MINUTE_MS, PLAN, SOURCES, Log, read_all

NINE_MS = parse_time_ms("2026-10-03T09:00:00.000Z")
HAND = ("--apply", "--reason", "a better clock", "--actor", "ada")
OLD, NEW = 1, 2
OF_ACME = "account_id = 'acme' and block = 1 and subject_id = 'c-1'"

Query = Callable[..., Awaitable[list[asyncpg.Record]]]


def at(minute: float) -> int:
    return NINE_MS + round(minute * MINUTE_MS)


# Two sessions of acme, the first of two blocks; one session of zeta; and an alert.
FIRST = [event("user", at(minute), "c-1") for minute in (0, 10, 20)]
SECOND = [event("user", at(60 + minute), "c-1") for minute in (0, 10)]
OTHERS = [
    *(event("user", at(minute), "c-2", account_id="zeta") for minute in (5, 6)),
    event("delivered", at(3), "d-1"),
]


@pytest_asyncio.fixture
async def query(database: str) -> AsyncIterator[Query]:
    connection = await asyncpg.connect(database)
    yield connection.fetch
    await connection.close()


@pytest_asyncio.fixture
async def billed(database: str) -> str:
    """A ledger billed by the older algorithm."""
    ledger = await PostgresLedger.open(database, algorithm=OLD)
    engine, log = Engine(ledger, PLAN), Log()
    await engine.claim(SOURCES)
    for lines in (FIRST, [*SECOND, *OTHERS]):
        log.append(lines)
        await read_all(engine, log)
        await engine.checkpoint()
    await ledger.close()
    return database


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program has a newer version of the rule's code, which bills as the older one did."""
    monkeypatch.setattr("quarterhour.recomputing.ALGORITHM", NEW)
    monkeypatch.setattr("quarterhour.commands.recompute.ALGORITHM", NEW)


pytestmark = pytest.mark.usefixtures("newer")


async def test_a_rule_that_bills_the_same_changes_nothing_and_tells_what_is_older(
    billed: str, query: Query
) -> None:
    await query("update billing.session_record set algorithm = $1 where account_id = 'zeta'", NEW)
    rows = rows_of(await recompute(billed, "--plan", "--records"))
    assert rows == [
        {"type": "summary", "algorithm": NEW, "conversations": 2, "sealed": 0, "records": 4,
         "changed": 0, "void": 0, "new": 0, "back": 0, "older": {"1": 3},
         "differing_conversations": 0}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fields", "older"),
    [
        ("changed", {"bot_ms": [1, 15 * MINUTE_MS]}, "set bot_ms = 1"),
        ("changed", {"ended_at": [format_time_ms(at(0)), format_time_ms(at(15))], "user_messages": [1, 2]},
         "set ended_at = started_at, user_messages = 1"),
        ("back", {}, "set status = 'void', session_settles_at_ms = null"),
        ("back", {"bot_ms": [1, 15 * MINUTE_MS]},
         "set status = 'void', session_settles_at_ms = null, bot_ms = 1"),
    ],
)  # fmt: skip
async def test_a_record_that_would_be_another_is_shown_with_what_differs(
    billed: str, query: Query, change: str, fields: dict[str, Any], older: str
) -> None:
    await query(f"update billing.session_record {older} where {OF_ACME} and started_at = $1", moment(0))
    before = await query("select * from billing.session_record order by session_id")
    record, account, summary = rows_of(await recompute(billed, "--plan", "--records"))
    assert (record["change"], record["fields"], record["conversation_id"]) == (change, fields, "c-1")
    assert account == {"type": "account", "account_id": "acme", **counts(**{change: 1})}
    assert summary["older"] == {"1": 3}
    assert await query("select * from billing.session_record order by session_id") == before
    assert await query("select from billing.recompute_request") == []


async def test_a_record_that_was_not_there_is_new(billed: str, query: Query) -> None:
    await query(f"delete from billing.session_record where {OF_ACME} and started_at = $1", moment(60))
    await query("update billing.conversation set record_ids = substr(record_ids, 1, 32)"
                " where account_id = 'acme'")  # fmt: skip
    record, account, _ = rows_of(await recompute(billed, "--plan", "--records"))
    assert record["fields"]["started_at"] == [None, format_time_ms(at(60))]
    assert (record["change"], record["algorithm"]) == ("new", None)
    assert account == {"type": "account", "account_id": "acme", **counts(new=1)}


async def test_a_record_that_its_facts_do_not_yield_would_be_void(billed: str, query: Query) -> None:
    await old_record(query, "zeta", 20)
    record, account, _ = rows_of(await recompute(billed, "--plan", "--records"))
    assert (record["change"], record["account_id"], record["fields"]) == ("void", "zeta", {})
    assert account == {"type": "account", "account_id": "zeta", **counts(void=1)}


async def test_filters_leave_out_what_is_not_in_them(billed: str, query: Query) -> None:
    await query("update billing.session_record set bot_ms = 1 where kind = 'usage' and block = 1")
    await old_record(query, "zeta", 20)
    for arguments, expected in (
        ((), counts(changed=3, void=1)),
        (("--account", "acme"), counts(changed=2)),
        (("--account", "zeta"), counts(changed=1, void=1)),
        (("--from", format_time_ms(at(5))), counts(changed=2, void=1)),
        (("--from", format_time_ms(at(5)), "--to", format_time_ms(at(20))), counts(changed=1)),
        (("--account", "nobody"), counts()),
    ):
        *_, summary = rows_of(await recompute(billed, "--plan", *arguments))
        assert {name: summary[name] for name in counts()} == expected, arguments


async def test_to_apply_asks_for_the_differing_conversations_once_and_keeps_who_did(
    billed: str, query: Query
) -> None:
    await query("update billing.session_record set bot_ms = 1 where account_id = 'acme' and kind = 'usage'")
    for _ in range(2):
        result = await recompute(billed, *HAND)
        summary = rows_of(result)[-1]
        assert (summary["changed"], summary["differing_conversations"]) == (3, 1)
        assert "1 conversations are to be billed anew" in result.stderr
    found = await query("select r.algorithm, c.conversation_id, c.shard = r.shard from"
                        " billing.recompute_request r join billing.conversation c using (conversation_key)"
                        )  # fmt: skip
    assert [tuple(row) for row in found] == [(NEW, "c-1", True)]
    first, second, waiting = rows_of(await recompute(billed, "--status"))
    assert waiting == {"type": "waiting", "algorithm": NEW, "conversations": 1}
    del first["requested_at"]
    assert first == {"type": "recomputation", "number": 1, "algorithm": NEW, "conversations": 1,
                     "actor": "ada", "why": "a better clock"}  # fmt: skip
    assert second["number"] == 2


async def test_a_request_for_a_newer_algorithm_stays_so(
    billed: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    await query("update billing.session_record set bot_ms = 1 where account_id = 'acme' and kind = 'usage'")
    monkeypatch.setattr("quarterhour.commands.recompute.ALGORITHM", NEW + 1)
    await recompute(billed, *HAND)
    monkeypatch.setattr("quarterhour.commands.recompute.ALGORITHM", NEW)
    await recompute(billed, *HAND)
    assert [row["algorithm"] for row in await query("select * from billing.recompute_request")] == [NEW + 1]


async def test_where_nothing_differs_nothing_is_asked_for_and_nobody_is_named(billed: str) -> None:
    assert (await recompute(billed, *HAND, "--wait")).stderr == ""
    assert rows_of(await recompute(billed, "--status")) == []


async def test_it_waits_until_none_is_left(billed: str, query: Query) -> None:
    await query("update billing.session_record set bot_ms = 1 where kind = 'usage'")
    waiting = asyncio.create_task(recompute(billed, *HAND, "--wait"))
    await until(lambda: query("select from billing.recompute_request"), "it was asked for")
    assert not waiting.done()
    await query("delete from billing.recompute_request")
    assert "all of them were billed anew" in (await waiting).stderr


async def test_it_gives_up_when_nobody_does_any_of_it(billed: str, query: Query) -> None:
    await query("update billing.session_record set bot_ms = 1 where kind = 'usage'")
    result = await recompute(billed, *HAND, "--wait", patience="1s", status=1)
    assert "still_waiting: 2 conversations still wait: does a worker of algorithm 2 run" in result.stderr
    assert len(await query("select from billing.recompute_request")) == 2


@pytest.mark.parametrize("arguments", [("--plan",), HAND])
async def test_a_program_older_than_a_record_refuses(
    billed: str, query: Query, arguments: tuple[str, ...]
) -> None:
    await query("update billing.session_record set algorithm = 3 where kind = 'alert'")
    result = await recompute(billed, *arguments, status=1)
    assert "there are records by algorithm 3, and this program has 2" in result.stderr
    assert await query("select from billing.recompute_request") == []


@pytest.mark.parametrize(
    "corruption",
    [
        "update billing.fact_chunk set facts = set_byte(facts, 5, 255 - get_byte(facts, 5))"
        " where revision = 3",
        "delete from billing.fact_chunk where revision = 3",
        "delete from billing.fact_chunk where revision = 5",
    ],
)
async def test_facts_that_were_corrupted_are_refused_by_the_name_of_their_conversation(
    billed: str, query: Query, corruption: str
) -> None:
    await query(corruption)
    result = await recompute(billed, "--plan", status=1)
    assert "the facts of acme|sales|c-1 were corrupted" in result.stderr


async def test_what_is_sealed_stays_and_what_is_not_is_billed_by_the_rules_of_its_beginning(
    billed: str, query: Query
) -> None:
    ((key,),) = await query("select conversation_key from billing.conversation where account_id = 'acme'")
    await query("with gone as (delete from billing.fact_chunk where conversation_key = $1 and revision = 3"
                " returning strings) update billing.fact_chunk f set strings = gone.strings || f.strings,"
                " checksum = null from gone where conversation_key = $1 and revision = 5", key)  # fmt: skip
    await query("update billing.conversation set record_ids = substr(record_ids, 33)"
                " where conversation_key = $1", key)  # fmt: skip
    await query("insert into billing.seal (conversation_key, sealed_through_ms, facts, begun_ms)"
                " values ($1, $2, 3, $3)", key, at(30), at(0))  # fmt: skip
    await query("insert into billing.rule_set (effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms)"
                " values ($1, 60000, 900000, 900000)", at(50))  # fmt: skip
    (summary,) = rows_of(await recompute(billed, "--plan"))
    assert (summary["sealed"], summary["records"], summary["older"]) == (1, 2, {"1": 2})


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--apply",),
        ("--plan", "--reason", "x"),
        ("--plan", "--wait"),
        ("--apply", "--reason", "x", "--records"),
        ("--status", "--account", "acme"),
    ],
)
async def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    await recompute("postgresql://nowhere", *arguments, status=2)


async def test_tables_are_for_people(billed: str, query: Query) -> None:
    await query("update billing.session_record set bot_ms = 1 where account_id = 'acme' and block = 2")
    result = await recompute(billed, "--plan", "--records", "--format", "table")
    assert "bot_ms: 1 -> 300000" in result.stdout
    assert [line.split() for line in result.stdout.splitlines() if line.strip().startswith("acme")][-1] == [
        *("acme", "1", "0", "0", "0")
    ]
    await recompute(billed, *HAND)
    assert "a better clock" in (await recompute(billed, "--status", "--format", "table")).stdout


def moment(minute: float) -> datetime:
    return datetime.fromtimestamp(at(minute) / 1000, UTC)


def counts(**different: int) -> dict[str, int]:
    return {"changed": 0, "void": 0, "new": 0, "back": 0} | different


async def old_record(query: Query, account: str, minute: float) -> None:
    """A record that an older rule billed from the facts of the account's conversation, later than its own."""
    of_account = "account_id = $1 and kind = 'usage'"
    await query(
        "insert into billing.session_record select (jsonb_populate_record(r, jsonb_build_object("
        "'session_id', '00000000-0000-5000-8000-000000000001', 'started_at', $2::timestamptz,"
        f"'ended_at', $2::timestamptz))).* from billing.session_record r where {of_account}",
        *(account, moment(minute)),
    )
    await query(
        "update billing.conversation set record_ids = record_ids || "
        "decode('00000000000050008000000000000001', 'hex') where account_id = $1",
        account,
    )


async def recompute(dsn: str, *arguments: str, patience: str = "60s", status: int = 0) -> Result:
    environment = {"QUARTERHOUR_POSTGRES_DSN": dsn, "QUARTERHOUR_PATIENCE": patience}
    runner = CliRunner(env=environment)
    result = await asyncio.to_thread(runner.invoke, main, ["recompute", *arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def rows_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]
