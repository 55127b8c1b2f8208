"""`quarterhour validate`: a line for each bad event, and a status."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quarterhour.cli import main
from schemas.reasons import Reason
from tests.schemas.examples import BAD, GOOD, changed

# Not on a line of a file: what decodes only there, or has no topic of its own in a file.
IN_LINES = [bad for bad in BAD if b"\n" not in bad.value and bad.reason is not Reason.WRONG_TOPIC]


def validate(*arguments: str, lines: bytes = b"") -> Result:
    return CliRunner().invoke(main, ["validate", *arguments], input=lines)


def reports(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_good_lines_give_no_output_and_status_0(tmp_path: Path) -> None:
    values = [good.value for good in GOOD if b"\n" not in good.value]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(values) + b"\n")
    result = validate(str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{len(values)} lines, all good\n"


def test_each_bad_line_is_reported_with_its_number_reason_and_field() -> None:
    lines = b"".join(changed() + b"\n" + bad.value + b"\n" for bad in IN_LINES)
    result = validate("-", "--format", "ndjson", lines=lines)
    assert [(report["line"], report["reason"], report["field"]) for report in reports(result)] == [
        (2 * place, bad.reason, bad.field) for place, bad in enumerate(IN_LINES, start=1)
    ]
    assert result.exit_code == 1
    assert f"{len(IN_LINES)} of {2 * len(IN_LINES)} lines bad" in result.stderr


def test_a_report_says_what_is_wrong_and_what_to_do() -> None:
    (report,) = reports(validate("-", lines=changed(data__author="visitor")))
    assert report == {
        "line": 1,
        "reason": "unknown_value",
        "field": "data.author",
        "detail": "'visitor'",
        "meaning": Reason.UNKNOWN_VALUE.meaning,
        "what_to_do": Reason.UNKNOWN_VALUE.what_to_do,
    }


def test_the_table_has_a_line_for_each_bad_event() -> None:
    result = validate("-", "--format", "table", lines=changed(id="a|b") + b"\n\n" + changed())
    first, second = result.stdout.splitlines()
    assert first.split()[:3] == ["1", "forbidden_character", "id"]
    assert Reason.FORBIDDEN_CHARACTER.what_to_do in first
    assert second.split()[:2] == ["2", "empty_value"]
    assert Reason.EMPTY_VALUE.meaning in second
    assert result.exit_code == 1


def test_the_line_ends_of_other_systems_are_blanks() -> None:
    assert validate("-", lines=changed() + b"\r\n" + changed() + b"\r\n").exit_code == 0


def test_an_empty_file_has_no_bad_line() -> None:
    result = validate("-")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 lines, all good\n")


@pytest.mark.parametrize(
    "arguments",
    [[], ["no-such-file"], ["-", "--format", "xml"]],
    ids=["no file", "a missing file", "a format"],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert validate(*arguments).exit_code == 2


def test_it_runs_as_a_process_with_answers_and_messages_apart() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "quarterhour", "validate", "-"],
        input=changed() + b"\n" + b"{}\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert json.loads(run.stdout)["reason"] == "not_cloudevents"
    assert run.stderr.decode() == "quarterhour: answer_is_no: 1 of 2 lines bad\n"
