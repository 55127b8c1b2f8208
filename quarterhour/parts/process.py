"""A background process that outlives the command that started it, known by the lock it holds.

The process inherits, as its standard input, a file on which an exclusive lock lies; its children inherit it
too. The kernel drops the lock when the last of them is gone, however they went (`kill -9`, a reboot), so a
stale pid can deceive nobody: running means locked. The file's text is the pid. This module knows nothing of
Kafka or PostgreSQL.
"""

import fcntl
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from quarterhour.parts.errors import PartFailed

POLL_S = 0.02
PID_TIMEOUT_S = 5
KILL_TIMEOUT_S = 20
LARGEST_LOG = 16 * 1024 * 1024
LOG_LINES_SHOWN = 8
# Only what a server needs: a PGOPTIONS or JAVA_TOOL_OPTIONS of the user's must not change our servers.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# The shell notes its own pid, which exec keeps: at no moment does the process run with its pid unknown.
NOTE_PID_AND_RUN = 'echo $$ >&0; exec "$@"'


class Process:
    """The handle of one background process; any number of handles in any number of processes agree."""

    def __init__(self, name: str, folder: Path, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._folder = folder
        self._lock_file = folder / "running"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process or a child of it lives."""
        try:
            with self._lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        if self._child is not None:
            self._child.poll()  # if it was ours, let the system forget it
        return False

    def pid(self) -> int | None:
        """Its process id; None if it does not run."""
        deadline = time.monotonic() + PID_TIMEOUT_S
        while self.running:
            text = self._lock_file.read_text()
            if text.endswith("\n"):
                return int(text)
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} holds {self._lock_file} and has not written its pid there")
            time.sleep(POLL_S)
        return None

    def start(self, command: Sequence[str | Path], account: pwd.struct_passwd | None = None) -> None:
        """Run a command in the folder, as an account if one is given; it must not be running."""
        _keep_log_small(self.log_file)
        with self._locked() as lock, self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", NOTE_PID_AND_RUN, "sh", *map(str, command)],
                stdin=lock,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=ENVIRONMENT,
                start_new_session=True,
                **as_account(account),
            )

    def stop(self, number: signal.Signals, timeout_s: float) -> None:
        """Send a signal and wait until the process is gone; after the timeout it is killed."""
        self._send(number)
        try:
            self.wait_until(lambda: not self.running, timeout_s, "stop", alive=False)
        except PartFailed:
            self._send(signal.SIGKILL)
            self.wait_until(lambda: not self.running, KILL_TIMEOUT_S, "die", alive=False)

    def wait_until(
        self, condition: Callable[[], bool], timeout_s: float, verb: str, *, alive: bool = True
    ) -> None:
        """Wait for a condition; raises PartFailed after the timeout or, if it must be alive, at its death."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if alive and not self.running:
                raise PartFailed(f"{self.name} ended when it should {verb}: {self.last_log_lines()}")
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} did not {verb} in {timeout_s:.0f} s: {self.last_log_lines()}")
            time.sleep(POLL_S)

    def last_log_lines(self) -> str:
        """The end of the log and where the rest is, for a message."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join([f"its log {self.log_file} ends with", *lines[-LOG_LINES_SHOWN:]])

    def _send(self, number: signal.Signals) -> None:
        pid = self.pid()
        if pid is not None:
            with suppress(ProcessLookupError):  # only its children are left: they go by themselves
                os.kill(pid, number)

    @contextmanager
    def _locked(self) -> Iterator[IO[str]]:
        with self._lock_file.open("a+") as lock:
            # Whoever asks just now whether it runs holds a shared lock for an instant: so, some patience.
            self.wait_until(lambda: _try_lock(lock), timeout_s=2, verb="start: it runs already", alive=False)
            lock.truncate(0)
            yield lock


def as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Arguments of `subprocess` to run as an account; none to stay who we are."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _keep_log_small(log_file: Path) -> None:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_file.exists() and log_file.stat().st_size > LARGEST_LOG:
        log_file.replace(log_file.with_suffix(".old"))
