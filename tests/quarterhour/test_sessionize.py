"""`quarterhour sessionize`: the billing rule as a filter, with neither broker nor database."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quarterhour.errors import WrongInput
from quarterhour.rule_file import read_rules
from quarterhour.traffic import traffic
from schemas.decode import parse_time_ms
from schemas.records import FIELDS
from sessionizer import reference
from sessionizer.rules import DEFAULT_RULES, RuleSet
from tests.schemas.examples import changed

UNTIL_MS = parse_time_ms("2026-10-03T09:00:00Z")


def sessionize(cwd: Path, *arguments: str, lines: list[bytes] | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "quarterhour", "sessionize", *arguments],
        input=b"".join(line + b"\n" for line in lines or []),
        capture_output=True,
        cwd=cwd,
        env={},
        timeout=60,
        check=False,
    )


def records_of(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def message(minute: int, **changes: Any) -> bytes:
    time = f"2026-10-03T{9 + minute // 60:02}:{minute % 60:02}:00.000Z"
    return changed(id=f"e-{minute}", time=time, **changes)


@pytest.mark.parametrize("hostile", [False, True], ids=["realistic", "hostile"])
def test_the_records_are_those_of_the_reference(hostile: bool, tmp_path: Path) -> None:
    lines = list(traffic(3_000, 1, UNTIL_MS, hostile=hostile))
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(lines))
    done = sessionize(tmp_path, str(file))
    assert (done.returncode, done.stderr) == (0, b"")
    assert records_of(done) == reference.sessionize([json.loads(line) for line in lines], None)
    assert len(records_of(done)) > 100


def test_a_record_has_the_fields_of_the_rules_in_their_order(tmp_path: Path) -> None:
    (record,) = records_of(sessionize(tmp_path, "-", lines=[message(0)]))
    assert list(record) == [field.name for field in FIELDS if "usage" in field.kinds]


def test_bad_lines_are_named_and_left_out_and_the_status_is_1(tmp_path: Path) -> None:
    done = sessionize(tmp_path, "-", lines=[message(0), b"{", message(1, data__author="visitor"), message(2)])
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "line 2: not_json: EOF while parsing an object at line 1 column 1",
        "line 3: unknown_value: data.author: 'visitor'",
        "quarterhour: lines_refused: 2 lines were refused",
    ]
    assert [record["user_messages"] for record in records_of(done)] == [2]


def test_the_table_shows_a_row_a_record(tmp_path: Path) -> None:
    done = sessionize(tmp_path, "-", "--format", "table", lines=[message(0), message(31)])
    assert [line.split()[:6] for line in done.stdout.decode().splitlines() if "usage" in line] == [
        ["usage", "acme", "sales", "c-1", "1", "2026-10-03T09:00:00.000Z"],
        ["usage", "acme", "sales", "c-1", "1", "2026-10-03T09:31:00.000Z"],
    ]


def test_no_event_is_no_record(tmp_path: Path) -> None:
    done = sessionize(tmp_path, "-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_rules_of_a_file_are_applied(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule_sets]]\nidle_timeout = "2h"\nblock = "10min"\n')
    done = sessionize(tmp_path, "-", "--rules", str(rules), lines=[message(0), message(31)])
    assert [(record["block"], record["bot_ms"]) for record in records_of(done)] == [(1, 600_000), (4, 60_000)]


def test_a_wrong_rule_file_is_status_2(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule_sets]]\nidle_timeout = "1min"\n')
    done = sessionize(tmp_path, "-", "--rules", str(rules))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"idle_timeout" in done.stderr


def rules_of(tmp_path: Path, text: str) -> Any:
    (tmp_path / "rules.toml").write_text(text)
    return read_rules(tmp_path / "rules.toml")


def test_every_key_of_a_rule_set_is_read(tmp_path: Path) -> None:
    book = rules_of(
        tmp_path,
        """
        [[rule_sets]]
        effective_from = "2026-10-01T02:00:00+02:00"
        account_id = "acme"
        bot_id = "sales"
        block = "10min"
        idle_timeout = "2h"
        handoff_timeout = "3d"

        [[rule_sets]]
        effective_from = 2026-10-02T00:00:00Z
        idle_timeout = "20min"
        """,
    )
    start_ms, day_ms = parse_time_ms("2026-10-01T00:00:00Z"), 86_400_000
    own = RuleSet(start_ms, 600_000, 7_200_000, 3 * day_ms, "acme", "sales")
    assert book.in_force("acme", "sales", start_ms) == own
    assert book.in_force("acme", "sales", start_ms - 1) == DEFAULT_RULES
    assert book.in_force("acme", "other", start_ms + day_ms) == RuleSet(
        start_ms + day_ms, idle_timeout_ms=1_200_000
    )


def test_a_rule_set_without_a_time_is_in_force_since_ever(tmp_path: Path) -> None:
    book = rules_of(tmp_path, '[[rule_sets]]\nblock = "1h"\n')
    assert book.in_force("acme", "sales", -(10**15)).block_ms == 3_600_000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[rule_sets]", "rules.toml"),
        ('rules = "x"', "rules"),
        ('rule_sets = "x"', "rule_sets"),
        ("[rule_sets]", "rule_sets"),
        ("rule_sets = [1]", "rule set 1"),
        ('[[rule_sets]]\nblok = "1h"', "blok"),
        ("[[rule_sets]]\nblock = 15", "block is 15"),
        ('[[rule_sets]]\nblock = "0min"', "block_ms"),
        ('[[rule_sets]]\nidle_timeout = "15d"', "idle_timeout_ms"),
        ('[[rule_sets]]\naccount_id = "acme"', "bot_id"),
        ("[[rule_sets]]\naccount_id = 1\nbot_id = 2", "account_id is 1"),
        ('[[rule_sets]]\neffective_from = "2026-10-01"', "effective_from is '2026-10-01'"),
        ("[[rule_sets]]\neffective_from = 2026-10-01T00:00:00", "effective_from"),
        ('[[rule_sets]]\n[[rule_sets]]\nblock = "1h"', "two rule sets"),
    ],
)
def test_a_wrong_rule_file_is_refused_by_what_is_wrong(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(WrongInput) as caught:
        rules_of(tmp_path, text)
    assert named in str(caught.value)
