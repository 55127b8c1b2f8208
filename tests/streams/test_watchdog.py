"""The last resorts end the process: tried on processes of their own."""

import subprocess
import sys
import time

from streams.watchdog import Watchdog

WAIT_FOR_EVER = "import threading; threading.Event().wait(60)"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)


def test_a_loop_that_stands_still_ends_the_process_with_status_70() -> None:
    ended = run(f"from streams.watchdog import Watchdog; Watchdog(0.2).start(); {WAIT_FOR_EVER}")
    assert ended.returncode == 70
    assert "the event loop has stood still for" in ended.stderr


def test_a_stop_that_does_not_end_is_ended_with_status_70() -> None:
    ended = run(f"from streams.watchdog import limit_stop; limit_stop(0.2); {WAIT_FOR_EVER}")
    assert ended.returncode == 70
    assert "did not stop within" in ended.stderr


def test_a_stop_in_time_is_left_alone() -> None:
    assert run("from streams.watchdog import limit_stop; limit_stop(0.2)").returncode == 0


def test_a_loop_that_ticks_is_left_alone() -> None:
    watchdog = Watchdog(limit_seconds=0.2)
    watchdog.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        watchdog.tick()
    watchdog.stop()
