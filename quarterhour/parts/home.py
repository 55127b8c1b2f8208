"""The home folder of the local parts: its layout, the lock on it, and what is chosen once and kept.

`state.json` (readable by its owner only: it holds a password) keeps the ports, the id of the Kafka cluster
and where PostgreSQL's files lie. Two homes share nothing but the per-user cache of jars.
"""

import fcntl
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Below the ports that systems hand out to outgoing connections, which would take ours while we are down.
PORTS = range(20_000, 30_000)
ADDRESS = "127.0.0.1"
# As `quarterhour.settings` reads it.
END_POINTS_FILE = "end-points.json"
STATE_FILE = "state.json"
LOCK_FILE = "lock"


class Home:
    """One home folder; nothing is created before `create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._choosing = threading.RLock()

    def create(self) -> None:
        """Make the folder, which git ignores."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n")

    @contextmanager
    def exclusive(self, report: Callable[[str], None]) -> Iterator[None]:
        """Only one process at a time starts or stops the parts of a home; others wait."""
        self.create()
        with _lock(
            self.folder / LOCK_FILE, lambda: report(f"waiting: another process works on {self.folder}")
        ):
            yield

    def remembered(self, name: str, choose: Callable[[], Any]) -> Any:
        """The value kept under a name, chosen at the first call."""
        with self._choosing:
            state = self.read_state()
            if name not in state:
                state[name] = choose()
                self.write(STATE_FILE, state)
            return state[name]

    def port(self, name: str) -> int:
        """The port kept under a name, chosen at the first call."""
        chosen: int = self.remembered(name, self._free_port)
        return chosen

    def free_port(self, name: str) -> int:
        """The port kept under a name, for a server about to start; another if a stranger listens on it."""
        with self._choosing:
            if not _is_free(self.port(name)):
                self.write(STATE_FILE, self.read_state() | {name: self._free_port()})
            return self.port(name)

    def _free_port(self) -> int:
        chosen = self.read_state().values()
        return next(
            port for port in random.sample(PORTS, len(PORTS)) if port not in chosen and _is_free(port)
        )

    def read_state(self) -> dict[str, Any]:
        """All that is kept; empty before the first start."""
        return self.read(STATE_FILE)

    def read(self, file_name: str) -> dict[str, Any]:
        """A JSON file of this folder; empty if there is none."""
        try:
            found: dict[str, Any] = json.loads((self.folder / file_name).read_text())
        except FileNotFoundError:
            return {}
        return found

    def write(self, file_name: str, content: dict[str, Any]) -> None:
        """Replace a JSON file of this folder, all or nothing; only the owner may read it."""
        path = self.folder / file_name
        partial = path.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(content, indent=2) + "\n")
        partial.replace(path)


@contextmanager
def _lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Else the connections of a server that was just killed would make its port seem taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
        return True
