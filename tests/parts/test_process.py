"""A background process is known by the lock it holds, whatever pids say."""

import os
import signal
import subprocess
import sys
import time

import pytest

from quarterhour.parts.errors import PartFailed
from quarterhour.parts.process import Process

FOREVER = ["sleep", "1000"]
DEADLINE_S = 10


@pytest.fixture
def process(tmp_path):
    started = Process("sleeper", tmp_path, tmp_path / "logs" / "sleeper.log")
    yield started
    started.stop(signal.SIGKILL, DEADLINE_S)


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_every_handle_sees_the_same_process(process, tmp_path):
    other = Process("sleeper", tmp_path, process.log_file)
    assert not other.running
    process.start(FOREVER)
    assert other.running
    assert other.pid() == process.pid()
    other.stop(signal.SIGTERM, DEADLINE_S)
    assert not process.running


def test_a_process_survives_the_one_that_started_it(process, tmp_path):
    start = (
        "import sys; from pathlib import Path; from quarterhour.parts.process import Process; "
        "Process('sleeper', Path(sys.argv[1]), Path(sys.argv[2])).start(['sleep', '1000'])"
    )
    subprocess.run([sys.executable, "-c", start, tmp_path, process.log_file], check=True)
    assert process.running
    assert os.getsid(process.pid()) == process.pid()


def test_a_stale_pid_of_a_living_stranger_is_not_believed(process, tmp_path):
    (tmp_path / "running").write_text(f"{os.getpid()}\n")
    assert not process.running
    assert process.pid() is None
    process.stop(signal.SIGKILL, DEADLINE_S)  # must not hit us


def test_a_process_killed_leaves_nothing_that_hinders_a_start(process):
    process.start(FOREVER)
    first = process.pid()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not process.running)
    process.start(FOREVER)
    assert process.pid() != first


def test_it_runs_while_a_child_of_it_lives(process, tmp_path):
    process.start(["sh", "-c", "exec 3<&0; sleep 1000 <&3 & echo $! > child; wait"])
    wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    leader, child = process.pid(), int((tmp_path / "child").read_text())
    os.kill(leader, signal.SIGKILL)
    os.waitpid(leader, 0)
    assert process.running
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: not process.running)


def test_a_second_start_is_refused(process):
    process.start(FOREVER)
    first = process.pid()
    with pytest.raises(PartFailed, match="runs already"):
        process.start(FOREVER)
    assert process.pid() == first


def test_one_that_does_not_obey_is_killed(process, tmp_path):
    process.start(["sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 1; done"])
    wait_for((tmp_path / "deaf").exists)
    process.stop(signal.SIGTERM, timeout_s=0.2)
    wait_for(lambda: not process.running)


def test_a_death_while_it_is_waited_for_shows_the_end_of_its_log(process):
    process.start(["sh", "-c", "echo no such luck; exit 1"])
    with pytest.raises(PartFailed, match=r"(?s)sleeper ended when it should start.*no such luck"):
        process.wait_until(lambda: False, DEADLINE_S, "start")


def test_the_environment_of_the_user_does_not_reach_it(process, monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    process.start(["env"])
    wait_for(lambda: not process.running)
    assert "LC_ALL=C" in process.log_file.read_text()
    assert "JAVA_TOOL_OPTIONS" not in process.log_file.read_text()


def test_a_log_that_grew_large_is_set_aside_at_a_start(process):
    process.log_file.parent.mkdir()
    with process.log_file.open("wb") as log:
        log.truncate(17 * 1024 * 1024)
    process.start(["echo", "new"])
    wait_for(lambda: not process.running)
    assert process.log_file.read_text() == "new\n"
    assert process.log_file.with_suffix(".old").stat().st_size == 17 * 1024 * 1024
