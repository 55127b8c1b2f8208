"""`quarterhour rules` on a real ledger: what is added, what is refused, and what a worker makes of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from sinks.ledger import Fenced
from sinks.postgres import PostgresLedger
from tests.sinks.builders import start_worker

LATER = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT00:00:00.000Z")
OF_SALES = ["--account", "acme", "--bot", "sales", "--idle-timeout", "2h"]


def rules(dsn: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "quarterhour", "rules", *arguments],
        env={**os.environ, "QUARTERHOUR_POSTGRES_DSN": dsn},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_rule_set_is_added_once_and_listed(database: str) -> None:
    assert rules(database, "add", "--from", LATER, *OF_SALES) == (0, "", "added\n")
    assert rules(database, "add", "--from", LATER, *OF_SALES) == (0, "", "this rule set is there already\n")
    status, output, _ = rules(database, "list")
    default = {"block": "15min", "idle_timeout": "15min", "handoff_timeout": "1d"}
    assert [json.loads(line) for line in output.splitlines()] == [
        {"account_id": None, "bot_id": None, "effective_from": None, **default},
        {"account_id": "acme", "bot_id": "sales", "effective_from": LATER, **default, "idle_timeout": "2h"},
    ]
    status, _, message = rules(database, "add", "--from", LATER, *OF_SALES[:4])
    assert status == 1
    assert "another rule set is effective from that time on" in message


@pytest.mark.parametrize("ahead_seconds", [-3600, 0, 540])
def test_a_rule_set_is_never_effective_in_the_past(database: str, ahead_seconds: int) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=ahead_seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, _, message = rules(database, "add", "--from", soon)
    assert status == 1
    assert "must be effective 600 s from now or later" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--from", "tomorrow"], "--from 'tomorrow'"),
        (["--from", LATER, "--account", "acme"], "both account_id and bot_id"),
        (["--from", LATER, "--idle-timeout", "1min"], "idle_timeout_ms is 60000"),
        (["--from", LATER, "--block", "15"], "--block '15'"),
    ],
)
def test_a_wrong_rule_set_is_named(database: str, arguments: list[str], named: str) -> None:
    status, _, message = rules(database, "add", *arguments)
    assert status == 2
    assert named in message


async def test_a_worker_that_does_not_know_a_rule_set_saves_nothing(database: str) -> None:
    ledger = await PostgresLedger.open(database, algorithm=1)
    connection = await asyncpg.connect(database)
    try:
        await ledger.rule_sets()
        worker = await start_worker(ledger)
        await ledger.save(worker.full_checkpoint(1))
        before = await connection.fetch("select * from billing.source_partition order by topic, partition")
        assert (await asyncio.to_thread(rules, database, "add", "--from", LATER, *OF_SALES))[0] == 0
        second = worker.full_checkpoint(2)
        with pytest.raises(Fenced, match="a rule set was added"):
            await ledger.save(second)
        assert (
            await connection.fetch("select * from billing.source_partition order by topic, partition")
            == before
        )
        await ledger.rule_sets()
        assert await ledger.save(second)
    finally:
        await connection.close()
        await ledger.close()
