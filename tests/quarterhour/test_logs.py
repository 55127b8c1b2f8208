"""Logs: one form for all loggers, on standard error, and a limit on those that flood."""

import json
import logging
import subprocess
import sys

import pytest

from quarterhour.logs import RateLimit

PROGRAM = """
import logging, sys, structlog
from quarterhour.logs import set_up_logs
set_up_logs(*sys.argv[1:])
structlog.get_logger("streams").info("claimed %s", "shard 1", shard=1)
structlog.get_logger("streams").debug("not shown")
logging.getLogger("aiokafka.conn").error("no answer from %s", "broker 1")
logging.getLogger("aiokafka.conn").debug("not shown")
for attempt in range(100):
    logging.getLogger("aiokafka.client").error("attempt %s", attempt)
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("sinks").exception("failed")
"""


def logged(level: str, form: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, form], capture_output=True, check=True, timeout=60
    )
    assert run.stdout == b""
    return run.stderr.decode().splitlines()


def test_both_kinds_of_loggers_write_the_same_json() -> None:
    first, second, third, last = map(json.loads, logged("info", "json"))
    assert first.keys() == {"event", "level", "logger", "timestamp", "shard"}
    assert (first["event"], first["level"], first["logger"], first["shard"]) == (
        "claimed shard 1",
        "info",
        "streams",
        1,
    )
    assert second.keys() == {"event", "level", "logger", "timestamp"}
    assert (second["event"], second["logger"]) == ("no answer from broker 1", "aiokafka.conn")
    assert third["event"] == "attempt 0"
    assert "ZeroDivisionError" in last["exception"]


def test_off_a_terminal_the_form_is_json_unless_told_otherwise() -> None:
    assert logged("info", "auto")[0].startswith("{")
    assert "claimed shard 1" in logged("info", "console")[0]
    assert not logged("info", "console")[0].startswith("{")


def test_the_level_holds_for_both() -> None:
    assert sum("not shown" in line for line in logged("debug", "json")) == 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(logger: str, line: int, message: str) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.ERROR, "client.py", line, message, ("node 1",), None)


def test_one_line_of_a_kind_passes_in_an_interval_and_tells_of_the_others() -> None:
    clock = Clock()
    limit = RateLimit("aiokafka", 10.0, clock)
    assert [limit.filter(record("aiokafka.client", 7, "lost %s")) for _ in range(5)] == [True] + [False] * 4
    clock.now = 9.99
    assert not limit.filter(record("aiokafka.client", 7, "lost %s"))
    clock.now = 10.0
    told = record("aiokafka.client", 7, "lost %s")
    assert limit.filter(told)
    assert told.getMessage() == "lost node 1 (and 5 more like it, not shown)"
    clock.now = 20.0
    again = record("aiokafka.client", 7, "lost %s")
    assert limit.filter(again)
    assert again.getMessage() == "lost node 1"


@pytest.mark.parametrize(
    ("logger", "line"), [("aiokafka.client", 8), ("aiokafka.conn", 7), ("aiokafka", 7)], ids=str
)
def test_a_line_of_another_kind_passes(logger: str, line: int) -> None:
    limit = RateLimit("aiokafka", 10.0, Clock())
    assert limit.filter(record("aiokafka.client", 7, "lost %s"))
    assert limit.filter(record(logger, line, "lost %s"))


@pytest.mark.parametrize("logger", ["streams", "aiokafkaesque", "root"])
def test_other_families_are_not_limited(logger: str) -> None:
    limit = RateLimit("aiokafka", 10.0, Clock())
    assert all(limit.filter(record(logger, 7, "lost %s")) for _ in range(5))
