"""Every way that matters to corrupt one row of a table of the ledger, and a real ledger to corrupt.

`python -m tests.quarterhour.corruptions` strikes each and prints what `quarterhour reconcile` says of it.
"""

import argparse
import asyncio
import json
import random
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
from click.testing import CliRunner, Result

from quarterhour.cli import main
from quarterhour.parts import Parts
from sessionizer.bill import ALGORITHM
from tests.drills.load import one_round
from tests.drills.stand import fresh_database, fresh_topics
from tests.streams.stage import Stage, event, now_ms, staged, until

SEED = 7
EVENTS = 4_000
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
LONG_AGO = 12
"""Conversations that began long ago."""


class Corruption(NamedTuple):
    """One row of `table` is struck: `sql` is the statement, with {one} for the condition that picks it.

    `of` says which rows may be picked, `picked_from` from which other table; `deep`, if only --deep sees it.
    """

    table: str
    what: str
    sql: str
    of: str = "true"
    deep: bool = True
    picked_from: str | None = None


def changed(table: str, change: str, of: str = "true", deep: bool = True) -> Corruption:
    column = change.partition(" =")[0]
    name = f"{column} changed" + (f" where {of}" if of != "true" else "")
    return Corruption(table, name, f"update billing.{table} t set {change} where {{one}}", of, deep)


def deleted(table: str, of: str = "true", deep: bool = True) -> Corruption:
    name = "deleted" + (f" where {of}" if of != "true" else "")
    return Corruption(table, name, f"delete from billing.{table} t where {{one}}", of, deep)


def added(table: str, different: str, of: str = "true", deep: bool = True) -> Corruption:
    """A copy of a row, but for these columns."""
    row = f"(jsonb_populate_record(t, jsonb_build_object({different}))).*"
    sql = f"insert into billing.{table} select {row} from billing.{table} t where {{one}}"
    return Corruption(table, "added", sql, of, deep)


USAGE, ALERT = "kind = 'usage'", "kind = 'alert'"
BILLED = "kind = 'usage' and status = 'final'"
OPEN, VOID = "kind = 'usage' and status = 'open'", "status = 'void'"
SUPERSEDED = """exists (select from billing.session_record_change l
    where l.session_id = t.session_id and l.position > t.position)"""
LAST = f"not {SUPERSEDED}"
STILL_OPEN = """exists (select from billing.session_record r
    where r.status = 'open' and r.subject_id = t.conversation_id)"""
# Of what is sealed nobody knows any more how much was a copy: a small number may have been.
WITHOUT_CONFLICTS = """outcome = 'fact' and records > 100 and not exists (select from billing.outcome_count c
    where (c.topic, c.partition, c.outcome) = (t.topic, t.partition, 'conflict'))"""
SEALED = """session_started_at < now() - interval '40 days'"""
HAS_A_SEAL = "exists (select from billing.seal s where s.conversation_key = t.conversation_key)"
HAS_FACTS = "exists (select from billing.fact_chunk f where f.conversation_key = t.conversation_key)"
NEVER_SEALED = """not exists (
    select from billing.conversation c join billing.seal s using (conversation_key)
    where c.conversation_id = t.subject_id)"""
NEWEST = """not exists (select from billing.seal s
    where s.conversation_key = t.conversation_key and s.sealed_through_ms > t.sealed_through_ms)"""
READ = "next_offset > first_offset"
EARLIER = "interval '1 minute'"

CORRUPTIONS = [
    changed("source_partition", "next_offset = next_offset + 1", READ, deep=False),
    changed("source_partition", "next_offset = next_offset - 1", READ, deep=False),
    changed("source_partition", "first_offset = first_offset + 1", READ, deep=False),
    changed("source_partition", "gap_count = gap_count + 1", READ, deep=False),
    changed("source_partition", "clock_ms = 0", READ),
    changed("source_partition", "clock_ms = clock_ms + 864000000", READ),
    changed("source_partition", "topic = 'other'", READ, deep=False),
    deleted("source_partition", READ, deep=False),
    added("source_partition", "'partition', 99", deep=False),
    changed("source_topic", "partitions = partitions + 1", deep=False),
    changed("source_topic", "topic_id = gen_random_uuid()", deep=False),
    changed("source_topic", "topic = 'other'", deep=False),
    deleted("source_topic", deep=False),
    added("source_topic", "'topic', 'other'", deep=False),
    changed("outcome_count", "records = records + 1", deep=False),
    changed("outcome_count", "outcome = 'unknown'", deep=False),
    changed("outcome_count", "partition = partition + 100", deep=False),
    changed("outcome_count", "reason = 'too_long'", "reason = 'not_json'"),
    changed("outcome_count", "outcome = 'conflict'", WITHOUT_CONFLICTS),
    deleted("outcome_count", deep=False),
    added("outcome_count", "'reason', 'other'", deep=False),
    changed("conversation", "conversation_key = gen_random_uuid()"),
    changed("conversation", "account_id = 'other'"),
    changed("conversation", "conversation_id = 'other'"),
    changed("conversation", "shard = shard + 1"),
    changed("conversation", "revision = revision + 1"),
    changed("conversation", "settles_at_ms = settles_at_ms + 1", HAS_FACTS),
    changed(
        "conversation", "settles_at_ms = settles_at_ms + 8640000000", f"{HAS_A_SEAL} and not {HAS_FACTS}"
    ),
    changed("conversation", "seal_due_ms = 9223372036854775807", HAS_FACTS),
    changed(
        "conversation", "record_ids = decode(repeat('00', 16), 'hex')", f"{HAS_A_SEAL} and not {HAS_FACTS}"
    ),
    *[
        changed("conversation", change, HAS_A_SEAL)
        for change in (
            "conversation_key = gen_random_uuid()",
            "account_id = 'other'",
            "revision = revision + 1",
        )
    ],
    deleted("conversation", HAS_A_SEAL),
    changed("conversation", "settled = false", "settled"),
    changed("conversation", "settled = true", STILL_OPEN),
    changed("conversation", "record_ids = record_ids || substr(record_ids, 1, 16)", "record_ids <> ''"),
    changed("conversation", "record_ids = substr(record_ids, 17)", "record_ids <> ''"),
    deleted("conversation"),
    added("conversation", "'conversation_key', gen_random_uuid()"),
    changed("fact_chunk", "facts = set_byte(facts, 5, 255 - get_byte(facts, 5))"),
    changed("fact_chunk", "facts = set_byte(facts, 10, 255 - get_byte(facts, 10))"),
    changed("fact_chunk", "facts = substr(facts, 1, length(facts) - 1)"),
    changed("fact_chunk", "facts = facts || facts"),
    changed("fact_chunk", "strings = strings || '|u|web' || chr(10)"),
    changed("fact_chunk", "revision = revision + 1"),
    changed("fact_chunk", "revision = revision + 1", HAS_A_SEAL),
    changed("fact_chunk", "conversation_key = gen_random_uuid()"),
    deleted("fact_chunk"),
    added("fact_chunk", "'revision', t.revision + 1"),
    added("fact_chunk", "'conversation_key', gen_random_uuid()"),
    changed("session_record", "session_id = gen_random_uuid()", USAGE),
    changed("session_record", "session_id = gen_random_uuid()", ALERT),
    changed("session_record", "kind = 'alert'", USAGE),
    changed("session_record", "kind = 'usage'", ALERT),
    *[
        changed("session_record", change, of)
        for change in (
            *("account_id = 'other'", "bot_id = 'other'", "user_id = 'other'", "channel = 'other'"),
            *("subject_id = 'other'", f"started_at = started_at - {EARLIER}"),
            *(f"ended_at = ended_at + {EARLIER}", "session_settles_at_ms = 1"),
            *("shard = shard + 1", "revision = revision + 1", "algorithm = algorithm + 1"),
            "corrected_at = now() + interval '1 hour'",
        )
        for of in (BILLED, OPEN, ALERT, f"{BILLED} and {SEALED}")
    ],
    *[
        changed("session_record", change, of)
        for change in (
            *(f"session_started_at = session_started_at - {EARLIER}", "block = block + 1"),
            *("bot_ms = bot_ms + 1", "agent_ms = agent_ms + 1", "user_messages = user_messages + 1"),
            "bot_messages = bot_messages + 1",
        )
        for of in (BILLED, OPEN, f"{BILLED} and {SEALED}")
    ],
    *[
        changed("session_record", change, f"{of} and {SEALED}")
        for change, of in (
            *(("status = 'open'", BILLED), ("status = 'void'", BILLED), ("status = 'open'", VOID)),
            *(("status = 'final'", VOID), ("session_id = gen_random_uuid()", USAGE)),
        )
    ],
    deleted("session_record", f"{BILLED} and {SEALED}"),
    added("session_record", "'session_id', gen_random_uuid()", f"{BILLED} and {SEALED}"),
    changed(
        "session_record", "session_settles_at_ms = null", f"{OPEN} and session_settles_at_ms is not null"
    ),
    changed("session_record", "status = 'open'", BILLED),
    changed("session_record", "status = 'void'", BILLED),
    changed("session_record", "status = 'final'", OPEN),
    changed("session_record", "status = 'void'", OPEN),
    changed("session_record", "status = 'final'", VOID),
    changed("session_record", "status = 'open'", VOID),
    changed("session_record", "status = 'void'", ALERT),
    changed("session_record", "bot_ms = bot_ms + 1", VOID),
    changed("session_record", "bot_ms = 1", ALERT),
    deleted("session_record", BILLED),
    deleted("session_record", OPEN),
    deleted("session_record", VOID),
    deleted("session_record", ALERT),
    added("session_record", "'session_id', gen_random_uuid()", BILLED),
    added("session_record", "'session_id', gen_random_uuid()", OPEN),
    added("session_record", "'session_id', gen_random_uuid()", ALERT),
    changed("alert_report", "session_id = gen_random_uuid()"),
    changed("alert_report", "reported_ms = reported_ms + 1"),
    changed("alert_report", "reported_ms = 0"),
    changed("alert_report", "user_id = 'other'"),
    deleted("alert_report"),
    added("alert_report", "'user_id', 'other'"),
    changed("dead_letter", "value = value || 'x'", "value is not null"),
    changed("dead_letter", "reason = 'too_long'", "reason = 'not_json'"),
    changed("dead_letter", "detail = 'x'", "detail <> 'x'"),
    changed("dead_letter", '"offset" = "offset" + 1000000'),
    deleted("dead_letter"),
    added("dead_letter", "'offset', t.\"offset\" + 1000000"),
    changed("change_counter", "last_position = last_position + 1"),
    changed("change_counter", "last_position = last_position - 1"),
    deleted("change_counter"),
    *[
        changed("session_record_change", change, of)
        for change in (
            *("session_id = gen_random_uuid()", "user_id = 'other'", f"ended_at = ended_at + {EARLIER}"),
            *("bot_ms = bot_ms + 1", "user_messages = user_messages + 1", "revision = revision + 1000"),
            *("status = 'void'", "account_id = 'other'"),
        )
        for of in (
            f"{USAGE} and {LAST} and status = 'final'",
            f"{USAGE} and {SUPERSEDED} and status = 'final' and {NEVER_SEALED}",
            f"{USAGE} and {LAST} and {SEALED}",
        )
    ],
    *[
        changed("session_record_change", change, f"{USAGE} and {SUPERSEDED} and {SEALED}")
        for change in ("session_id = gen_random_uuid()", "revision = revision + 1000", "status = 'open'")
    ],
    changed("session_record_change", "user_id = 'other'", f"{ALERT} and {SUPERSEDED}"),
    changed("session_record_change", f"started_at = started_at + {EARLIER}", f"{ALERT} and {LAST}"),
    changed("session_record_change", "corrected_at = now()", LAST),
    changed("session_record_change", "position = position + 1000000"),
    deleted("session_record_change"),
    added("session_record_change", "'position', t.position + 1000000"),
    changed("rule_set", "idle_timeout_ms = idle_timeout_ms + 60000"),
    changed("rule_set", "block_ms = 0 + 60000"),
    changed("rule_set", "effective_ms = 1"),
    deleted("rule_set"),
    Corruption(
        "rule_set",
        "added",
        "insert into billing.rule_set (effective_ms, block_ms, idle_timeout_ms, handoff_timeout_ms)"
        " select 1, 60000, 900000, 86400000 from billing.rule_set t where {one}",
    ),
    changed("dead_letter_act", "why = 'other'"),
    changed("dead_letter_act", "actor = 'other'"),
    changed("dead_letter_act", '"offset" = "offset" + 1000000'),
    Corruption(
        "rejected_event_position",
        "ahead of what was read",
        "insert into billing.rejected_event_position select topic, partition, next_offset + 1"
        " from billing.source_partition t where {one}"
        " on conflict (topic, partition) do update set next_offset = excluded.next_offset",
        READ,
        picked_from="source_partition",
    ),
    *[
        changed("seal", change)
        for change in (
            *("conversation_key = gen_random_uuid()", "sealed_through_ms = sealed_through_ms + 1"),
            *("facts = facts + 1", "begun_ms = begun_ms + 1", f"sealed_at = sealed_at - {EARLIER}"),
            "checksum = checksum + 1",
        )
    ],
    deleted("seal", NEWEST),
    added("seal", "'conversation_key', gen_random_uuid()"),
    added("seal", "'sealed_through_ms', t.sealed_through_ms + 86400000"),
    added("seal", "'sealed_through_ms', t.sealed_through_ms - 86400000"),
    changed("recompute_request", "shard = shard + 1"),
    changed("recompute_request", "conversation_key = gen_random_uuid()"),
    changed("recompute_request", "algorithm = algorithm + 1"),
    changed("recomputation", "algorithm = algorithm + 1"),
    deleted("recomputation"),
    changed("schema_migration", "sha256 = 'x'", deep=False),
    deleted("schema_migration", deep=False),
    added("schema_migration", "'version', 9999", deep=False),
]
"""Not among them, as no bill depends on it: who owns a partition and since when, and how near it is to the
limit on dead letters; seals before the newest; when a conversation that is sealed as a whole had settled;
who had what billed anew, when and why. And what leaves no trace: an act on a dead letter that is gone, a
request to bill anew that is gone, and what consumers were told of a record of a sealed conversation before
they were told otherwise."""


async def fill(stage: Stage) -> None:
    """Have real workers make a ledger with something of every kind, and leave something to read."""
    now = now_ms()
    await stage.publish([*one_round(EVENTS, SEED, now), b"{", *_reports(now), *_long_ago(now)])
    await stage.drain()
    for late in (_corrections(now), _returns(now)):
        await stage.publish(late)
        await stage.drain()
    await run(
        stage, stage.dsn, "dead-letters", "discard", "--code", "not_json", "--reason", "a test", "--confirm"
    )
    for number, days in enumerate((80, 45), 1):
        await _seal(stage, f"{days}d", number * LONG_AGO)
    await stage.publish(_after_seals(now_ms()))
    await stage.drain()
    await stage.query(REQUEST, ALGORITHM + 1)
    await stage.publish(one_round(200, SEED + 1, now))


@asynccontextmanager
async def corrupted(dsn: str, corruption: Corruption, dice: random.Random) -> AsyncIterator[None]:
    """With one random row corrupted of those that it is of; the table is put back as it was."""
    table = corruption.picked_from or corruption.table
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            f"select ctid from billing.{table} t where {corruption.of} order by ctid"
        )
        assert rows, f"no row of {table} where {corruption.of}"
        block, place = dice.choice(rows)["ctid"]
        await connection.execute(f"create temporary table kept as table billing.{corruption.table}")
        status = await connection.execute(corruption.sql.format(one=f"t.ctid = '({block},{place})'"))
        assert status.endswith(" 1"), f"{status}: {corruption}"
        yield
        await connection.execute(f"""
            set session_replication_role = replica; -- so that rows keep their checksums
            delete from billing.{corruption.table};
            insert into billing.{corruption.table} overriding system value select * from kept""")
    finally:
        await connection.close()


async def reconcile(stage: Stage, dsn: str, *arguments: str) -> Result:
    """Run the command on a ledger."""
    return await run(stage, dsn, "reconcile", "--format", "ndjson", *arguments)


async def run(stage: Stage, dsn: str, *arguments: str) -> Result:
    """Run a command on this stage, and on this ledger."""
    runner = CliRunner(env={**stage.environment(), "QUARTERHOUR_POSTGRES_DSN": dsn})
    return await asyncio.to_thread(runner.invoke, main, arguments, catch_exceptions=False)


def differences(result: Result) -> list[dict[str, str]]:
    """The differences that it named, or the one that it ended with."""
    found = [json.loads(line) for line in result.stdout.splitlines()]
    named = [row for row in found if row["type"] == "difference"]
    return named or [
        {"table": result.stderr.removeprefix("quarterhour: answer_is_no: ").strip(), "key": "", "what": ""}
    ]


def names(difference: dict[str, str], table: str) -> bool:
    """Whether a difference names a table, and not only one whose name begins so."""
    return bool(re.search(rf"\b{table}\b", f"{difference['table']} {difference['what']}"))


REQUEST = """
    with asked as (
      insert into billing.recomputation (algorithm, conversations, actor, why)
      values ($1, 3, 'a test', 'a test')
    )
    insert into billing.recompute_request
    select shard, conversation_key, $1 from billing.conversation order by conversation_key limit 3"""
"""For an algorithm that no worker has, so that they stay."""


async def _seal(stage: Stage, age: str, seals: int) -> None:
    """Have a worker seal what is older than that, until there are so many seals."""
    worker = stage.start(max_age=age, seal_after=age)

    async def are_there() -> bool:
        assert worker.running, worker.log
        ((found,),) = await stage.query("select count(*) from billing.seal")
        return found >= seals

    await until(are_there, f"{seals} seals of what is {age} old")
    await worker.stop()


def _long_ago(now: int) -> Iterator[bytes]:
    """Conversations of 100 and of 50 days ago, every other one of yesterday too: each with an agent."""
    for number in range(LONG_AGO):
        for days in (100, 50, 1) if number % 2 else (100, 50):
            start = now - days * DAY_MS
            for kind, minute in (
                ("user", 0),
                ("bot", 1),
                ("started", 2),
                ("ended", 8),
                ("user", 10),
                ("user", 24),
            ):
                yield event(kind, start + minute * MINUTE_MS, f"long-ago-{number}")


def _after_seals(now: int) -> list[bytes]:
    """Of conversations that are sealed, as a whole or not: one goes on, one is corrected."""
    return [
        *(
            event("user", now - minutes * MINUTE_MS, f"long-ago-{number}")
            for number in range(4)
            for minutes in (2, 1)
        ),
        event("user", now - DAY_MS + 4 * MINUTE_MS, "long-ago-3"),
        event("user", now - DAY_MS + 20 * MINUTE_MS, "long-ago-5"),
    ]


def _reports(now: int) -> list[bytes]:
    return [
        event("delivered", now - minutes * MINUTE_MS, f"twice-{number}", user_id=user_id)
        for number in range(5)
        for minutes, user_id in ((30, "u-1"), (20, "u-2"))
    ]


def _corrections(now: int) -> list[bytes]:
    """Of conversations that are final: more messages, an earlier report."""
    return [
        *(event("user", now - 100 * DAY_MS + 20 * MINUTE_MS, f"long-ago-{number}") for number in range(6)),
        *(event("user", now - 1440 * MINUTE_MS + minute * MINUTE_MS, "late") for minute in (0, 10, 20, 30)),
        *(event("delivered", now - 40 * MINUTE_MS, f"twice-{number}") for number in range(3)),
    ]


def _returns(now: int) -> list[bytes]:
    """Closes that void a block of what was final."""
    return [
        event("closed", now - days * DAY_MS + 11 * MINUTE_MS, conversation)
        for days, conversation in ((1, "late"), (100, "long-ago-0"), (100, "long-ago-1"))
    ]


@asynccontextmanager
async def a_real_ledger(parts: Parts, folder: Path) -> AsyncIterator[Stage]:
    """A stage whose ledger is filled."""
    brokers = parts.kafka.brokers
    async with (
        fresh_topics(brokers) as topics,
        fresh_database(parts) as dsn,
        staged(brokers, dsn, topics, folder) as stage,
    ):
        await fill(stage)
        yield stage


async def _strike_all(parts: Parts, folder: Path) -> int:
    """Print the table of corruptions; return how many were not caught by name."""
    missed = 0
    async with a_real_ledger(parts, folder) as stage:
        clean = await reconcile(stage, stage.dsn, "--deep")
        print(f"not corrupted: status {clean.exit_code}, {clean.stdout.splitlines()[-1]}\n")
        print("| table | one random row | status | named | what it says |\n|---|---|---|---|---|")
        for number, corruption in enumerate(CORRUPTIONS):
            async with corrupted(stage.dsn, corruption, random.Random(number)):
                result = await reconcile(stage, stage.dsn, *(["--deep"] if corruption.deep else []))
            found = differences(result)
            named = [it for it in found if names(it, corruption.table)]
            missed += result.exit_code != 1 or not named
            said = max(named or found, key=lambda it: it["table"] == corruption.table)
            what, caught = " ".join(corruption.what.split()), "yes" if named else "no"
            line = ": ".join(said[part] for part in ("table", "key", "what")).replace("|", "/")
            print(f"| `{corruption.table}` | {what} | {result.exit_code} | {caught} | {line} |")
        clean = await reconcile(stage, stage.dsn, "--deep")
        assert clean.exit_code == 0, clean.output
    print(f"\n{len(CORRUPTIONS)} corruptions, {missed} not caught by name")
    return missed


def _main() -> None:
    parser = argparse.ArgumentParser(description="Corrupt one row of every table, in every way that matters.")
    parser.add_argument(
        "--home", type=Path, help="where the parts are, and stay up (default: a folder of its own)"
    )
    home = parser.parse_args().home
    folder = Path(tempfile.mkdtemp())
    parts = Parts(home or folder / "home")
    parts.up()
    try:
        missed = asyncio.run(_strike_all(parts, folder))
    finally:
        if home is None:
            parts.down(wipe=True)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(bool(missed))


if __name__ == "__main__":
    _main()
