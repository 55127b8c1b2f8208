"""The bench itself: it runs, measures every contender, and fails when the ledger is wrong."""

import json
from pathlib import Path

import asyncpg
import pytest

from quarterhour.output import NDJSON
from quarterhour.parts import PartMissing, Parts
from tests.bench.__main__ import Options, bench
from tests.bench.figures import Figures, Spread, mis_set
from tests.bench.peers.programs import QUICK, JavaLoop

EVENTS = 3_000
FALSIFY = (
    "update billing.session_record set bot_ms = bot_ms + 1 where session_id = "
    "(select session_id from billing.session_record where kind = 'usage' limit 1)",
    "delete from billing.session_record where session_id = "
    "(select session_id from billing.session_record where kind = 'alert' limit 1)",
    "update billing.outcome_count set records = records + 1 where ctid = "
    "(select ctid from billing.outcome_count where outcome = 'repeat' limit 1)",
)


async def test_it_measures_every_contender_and_finds_nothing_wrong(
    parts: Parts, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert await bench(parts, Options(EVENTS, rounds=1, kill=False, output_format=NDJSON, home=tmp_path))

    context, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    assert context["shipped_defaults"]["QUARTERHOUR_CHECKPOINT_INTERVAL"] == "500ms"
    assert [row["contender"] for row in rows] == [contender.name for contender in QUICK.values()]
    assert [row["wrong"] for row in rows] == [None, None, 0, 0]
    for row in rows:
        assert row["events"] == EVENTS
        for figure in ("events_per_second", "startup_seconds", "startup_cpu_seconds", "peak_mib"):
            assert row[figure]["median"] > 0, figure


async def test_it_kills_and_compares(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    assert await bench(parts, Options(EVENTS, rounds=1, only=("quarterhour",), output_format=NDJSON))

    _, row = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["wrong_after_kill"] == 0


async def test_a_wrong_ledger_fails_it(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    async def meddle(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        assert [await connection.execute(sql) for sql in FALSIFY] == ["UPDATE 1", "DELETE 1", "UPDATE 1"]
        await connection.close()

    assert not await bench(parts, Options(EVENTS, rounds=1, only=("quarterhour",), kill=False), meddle)

    told = capsys.readouterr().err
    assert "rows that differ: 1 (" in told
    assert "rows in reference only: 1 (" in told
    assert "WRONG: outcomes" in told


def test_a_missing_jdk_is_named_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PartMissing, match="apt-get install openjdk-17-jdk-headless maven"):
        JavaLoop.install(tmp_path)


def test_a_peer_slower_beside_the_java_loop_than_before_is_named() -> None:
    java_loop, same, slower = _measured("loop", 5, 5), _measured("same", 30, 25), _measured("slower", 40, 25)

    assert mis_set([java_loop, same, slower], java_loop) == ["slower"]


def _measured(contender: str, cpu: float, cpu_before: float) -> Figures:
    spread = Spread(cpu, cpu, cpu)
    return Figures(contender, EVENTS, *[spread] * 5, 0, None, None, cpu_before)
