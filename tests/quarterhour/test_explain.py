"""`quarterhour explain`: the whole text of a corrected session, checked by hand against billing-rules.md."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from quarterhour.cli import main
from schemas.times import DAY_MS, format_time_ms, parse_time_ms
from sessionizer.ids import alert_session_id, usage_session_id
from sessionizer.rules import RuleBook, RuleSet
from sinks.postgres import PostgresLedger
from streams.engine import Engine
from tests.streams.stage import event
from tests.streams.test_engine import MINUTE_MS, PLAN, SOURCES, Log, read_all

NINE_MS = parse_time_ms("2026-10-03T09:00:00.000Z")
NEVER = "00000000-0000-5000-8000-000000000000"
GOLDEN, GOLDEN_SEALED, GOLDEN_LEFT = (
    Path(__file__).with_name(name) for name in ("explained.txt", "explained_sealed.txt", "explained_left.txt")
)
DAY = 1_440.0
LATER_RULES = RuleSet(effective_ms=NINE_MS + DAY_MS, block_ms=30 * MINUTE_MS)
SEALING = replace(
    PLAN,
    contract=replace(PLAN.contract, max_age_ms=30 * DAY_MS),
    seal_after_ms=30 * DAY_MS,
    rules=RuleBook([LATER_RULES]),
)


def at(minute: float) -> int:
    return NINE_MS + round(minute * MINUTE_MS)


def told(kind: str, minute: float, event_id: str, **data: Any) -> bytes:
    return event(kind, at(minute), event_id=event_id, **data)


def session(minute: float, block: int) -> str:
    return str(usage_session_id("acme", "sales", "c-1", at(minute), block))


# On the bot clock the first session runs 2 + 10 + 4 = 16 minutes: two blocks, the second from 9:43 to 9:44.
IN_TIME = [
    told("bot", -1, "greeting"),
    told("user", 0, "m-1"),
    told("bot", 1, "m-2"),
    told("started", 2, "s-1"),
    told("user", 5, "m-3"),
    told("ended", 12, "t-1"),
    told("user", 13, "m-4"),
    told("bot", 14, "m-5"),
    told("bot", 14.5, "m-5"),
    told("user", 20, "m-6"),
    told("started", 22, "s-2", handoff_id="h-2"),
    told("started", 23, "s-3", handoff_id="h-2"),
    told("ended", 40, "t-2", handoff_id="h-2"),
    told("user", 41, "m-7", user_id="u-2"),
    told("user", 44, "m-8", user_id="u-2"),
]
# It cuts the first session at 9:20; what the user writes from 9:41 on is another one.
LATE = [told("user", 20, "m-6"), told("closed", 20.5, "close")]
REPORTS = [
    event("delivered", at(3), "d-1", user_id="u-3", channel="sms"),
    event("delivered", at(2), "d-1", user_id="u-3", channel="sms"),
    event("delivered", at(3), "d-1", user_id="u-3", channel="sms"),
]


@pytest_asyncio.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    opened = await PostgresLedger.open(database, algorithm=1)
    yield opened
    await opened.close()


class Told:
    """A ledger that is told events in turns, and asked to explain."""

    def __init__(self, engine: Engine, dsn: str) -> None:
        self._engine, self._log, self._dsn = engine, Log(), dsn

    async def tell(self, lines: list[bytes], until_minute: float) -> None:
        """Read these, and let the stream's time pass until then."""
        self._log.append(lines)
        await read_all(self._engine, self._log)
        claim = self._engine.current
        assert claim
        for cursor in claim.cursors.values():
            cursor.clock_ms = max(cursor.clock_ms, at(until_minute))
        await self._engine.checkpoint()

    async def explain(self, session_id: str, *arguments: str, events: list[bytes] = ()) -> Result:
        return await asyncio.to_thread(
            CliRunner(env={"QUARTERHOUR_POSTGRES_DSN": self._dsn}).invoke,
            main,
            ["explain", session_id, *arguments],
            b"".join(line + b"\n" for line in events),
        )

    async def object(self, session_id: str, *arguments: str, events: list[bytes] = ()) -> dict[str, Any]:
        result = await self.explain(session_id, *arguments, "--format", "json", events=events)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest_asyncio.fixture
async def ledger_told(ledger: PostgresLedger, database: str) -> Told:
    engine = Engine(ledger, PLAN)
    await engine.claim(SOURCES)
    return Told(engine, database)


async def test_the_text_of_a_session_with_two_handoffs_and_a_correction(ledger_told: Told) -> None:
    await ledger_told.tell(IN_TIME, until_minute=120)
    await ledger_told.tell(LATE, until_minute=120)
    result = await ledger_told.explain(session(0, 1), "--format", "table", "--events", "-", events=[
        IN_TIME[1], IN_TIME[1], IN_TIME[8], LATE[1], told("user", 30, "m-9"), told("user", 20.1, "m-6"),
        told("agent", 6, "m-10"), event("user", at(1), "c-2", event_id="m-11"), b"{",
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    corrected_at = (await ledger_told.object(session(0, 1)))["record"]["corrected_at"]
    found = result.stdout.replace(corrected_at.replace("T", " ").rstrip("Z"), "CORRECTED AT")
    assert found == GOLDEN.read_text()


async def test_programs_are_told_the_same(ledger_told: Told) -> None:
    await ledger_told.tell(IN_TIME, until_minute=120)
    before = await ledger_told.object(session(0, 1))
    assert before["is_as_computed"] and before["record"]["agent_ms"] == 28 * MINUTE_MS
    assert [change["because"] for change in before["changes"]] == [None]
    await ledger_told.tell(LATE, until_minute=120)
    found = await ledger_told.object(session(0, 1))
    assert found["record"]["agent_ms"] == found["record"]["bot_ms"] == 10 * MINUTE_MS
    assert found["is_as_computed"]
    assert [change["because"] for change in found["changes"]] == [None, [16]]
    assert [fact["number"] for fact in found["facts"] if fact["kind"] == "closed"] == [16]
    assert [(span["handoff_id"], span["end"]) for span in found["spans"]] == [
        ("h-1", "ended"),
        ("h-2", "ended"),
    ]
    assert [len(session["blocks"]) for session in found["sessions"]] == [1, 1]
    assert found["rule_set"]["idle_timeout_ms"] == 15 * MINUTE_MS


async def test_a_void_session_names_the_fact_that_removed_it(ledger_told: Told) -> None:
    await ledger_told.tell(IN_TIME, until_minute=120)
    await ledger_told.tell(LATE, until_minute=120)
    found = await ledger_told.object(session(0, 2))
    assert found["record"]["status"] == "void" and found["is_as_computed"]
    assert [change["because"] for change in found["changes"]] == [None, [16]]
    text = (await ledger_told.explain(session(0, 2), "--format", "table")).stdout
    assert "It is void: later facts removed it, and it is not billed." in text
    assert "because fact 16 arrived: closed, 2026-10-03 09:20:30.000" in text


async def test_a_session_that_a_late_fact_made_names_that_fact(ledger_told: Told) -> None:
    await ledger_told.tell(IN_TIME, until_minute=120)
    await ledger_told.tell(LATE, until_minute=120)
    found = await ledger_told.object(session(41, 1))
    assert found["record"]["user_id"] == "u-2" and found["record"]["corrected_at"]
    assert [change["because"] for change in found["changes"]] == [[16]]


@pytest_asyncio.fixture
async def sealed(ledger: PostgresLedger, database: str) -> Told:
    """A conversation of which the first sessions are sealed, and one forty days later is left."""
    engine = Engine(ledger, SEALING)
    await engine.claim(SOURCES)
    told_to = Told(engine, database)
    await told_to.tell(IN_TIME, until_minute=120)
    await told_to.tell(LATE, until_minute=120)
    await told_to.tell([told("user", 40 * DAY + minute, f"n-{minute}") for minute in (0, 20, 10)], 41 * DAY)
    await told_to.tell([], 41 * DAY)
    assert await engine.seal(60.0) == 1
    connection = await asyncpg.connect(database)
    columns = ("effective_ms", "block_ms", "idle_timeout_ms", "handoff_timeout_ms")
    await connection.execute(
        f"insert into billing.rule_set ({', '.join(columns)}) values ($1, $2, $3, $4)",
        *(getattr(LATER_RULES, column) for column in columns),
    )
    await connection.close()
    return told_to


async def test_the_text_of_a_session_that_is_sealed(sealed: Told) -> None:
    result = await sealed.explain(session(0, 1), "--format", "table", "--events", "-", events=[
        IN_TIME[1], told("user", 5, "other"), told("user", 40 * DAY, "n-0"), told("user", 40 * DAY, "n-1"),
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    found = await sealed.object(session(0, 1))
    assert _without_times(result.stdout, found) == GOLDEN_SEALED.read_text()


async def test_the_text_of_a_session_whose_conversation_began_with_what_is_sealed(sealed: Told) -> None:
    result = await sealed.explain(session(40 * DAY, 1), "--format", "table")
    assert result.exit_code == 0, result.output
    found = await sealed.object(session(40 * DAY, 1))
    assert _without_times(result.stdout, found) == GOLDEN_LEFT.read_text()


async def test_programs_are_told_of_seals(sealed: Told) -> None:
    gone, left = await sealed.object(session(0, 2)), await sealed.object(session(40 * DAY, 1))
    (seal,) = gone["seals"]
    assert (seal["facts"], seal["began_at"]) == (16, format_time_ms(at(-1)))
    assert seal["sealed_through"] == format_time_ms(at(11 * DAY - 5) - 1)
    assert left["seals"] == gone["seals"]
    assert (gone["is_sealed"], gone["is_as_computed"], "facts" in gone) == (True, None, False)
    assert [change["record"]["status"] for change in gone["changes"]] == ["final", "void"]
    assert (left["is_sealed"], left["is_as_computed"]) == (False, True)
    assert [fact["number"] for fact in left["facts"]] == [17, 19, 18]
    assert left["rule_set"]["block_ms"] == gone["rule_set"]["block_ms"] == 15 * MINUTE_MS


async def test_a_correction_of_what_is_left_names_its_fact(sealed: Told) -> None:
    late = [told("bot", 40 * DAY + 6, "late-answer"), told("user", 40 * DAY + 5, "late")]
    await sealed.tell(late[:1], until_minute=41 * DAY)
    await sealed.tell(late[1:], until_minute=41 * DAY)
    found = await sealed.object(session(40 * DAY, 1))
    assert [change["because"] for change in found["changes"]] == [None, [20], [21]]
    gone = await sealed.object(session(41, 1))
    assert [change["because"] for change in gone["changes"]] == [None]


def _without_times(text: str, found: dict[str, Any]) -> str:
    """The text but for when the ledger was written."""
    corrected_at, (seal,) = found["record"]["corrected_at"], found["seals"]
    if corrected_at:
        text = text.replace(corrected_at.replace("T", " ").rstrip("Z"), "CORRECTED AT")
    return text.replace(seal["sealed_at"][:10], "SEALED ON")


async def test_an_open_session_says_when_it_becomes_final(ledger_told: Told) -> None:
    await ledger_told.tell([told("user", 0, "m-1")], until_minute=1)
    text = (await ledger_told.explain(session(0, 1), "--format", "table")).stdout
    assert "It is open: it may still grow. It becomes final once everything up to 2026-10-03 09:25" in text
    assert "Consumers were told nothing of it" in text


async def test_an_alert_shows_its_reports(ledger_told: Told) -> None:
    await ledger_told.tell(REPORTS, until_minute=10)
    session_id = str(alert_session_id("acme", "sales", "d-1"))
    failed = event("failed", at(1), "d-1")
    never = event("delivered", at(4), "d-1", user_id="u-3", channel="sms")
    same_name = event("user", at(2), "d-1")
    found = await ledger_told.object(
        session_id, "--events", "-", events=[*REPORTS, REPORTS[1], never, failed, same_name]
    )
    times = [format_time_ms(at(2)), format_time_ms(at(3))]
    assert [report["reported_at"] for report in found["reports"]] == times
    assert found["record"]["started_at"] == times[0]
    assert [marked["mark"] for marked in found["events"]] == [
        *("repeat", "in_bill", "repeat", "repeat", "never_arrived", "set_aside", "another_subject"),
    ]
    text = (await ledger_told.explain(session_id, "--format", "table")).stdout
    assert "Reports of this delivery: 2. Only the first is billed." in text


async def test_a_record_that_its_facts_do_not_yield_is_told_so(ledger_told: Told, database: str) -> None:
    await ledger_told.tell(IN_TIME, until_minute=120)
    connection = await asyncpg.connect(database)
    await connection.execute("update billing.session_record set bot_ms = bot_ms + 1 where block = 2")
    await connection.close()
    assert (await ledger_told.object(session(0, 1)))["is_as_computed"]
    assert not (await ledger_told.object(session(0, 2)))["is_as_computed"]


@pytest.mark.parametrize(
    ("session_id", "status", "code"), [(NEVER, 1, "unknown_session"), ("c-1", 2, "wrong_input")]
)
async def test_what_cannot_be_explained(ledger_told: Told, session_id: str, status: int, code: str) -> None:
    result = await ledger_told.explain(session_id)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith(f"quarterhour: {code}: ")
