"""The local parts: a real Kafka and a real PostgreSQL under one home folder, without Docker, Java or root.

    parts = Parts(Path(".quarterhour"))
    endpoints = parts.up(print)      # starts what is not running, waits until both answer
    parts.kafka.kill(); parts.kafka.start()
    parts.down()

Both processes outlive the process that started them. Nothing here knows what Quarterhour does with them.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from quarterhour.parts.errors import PartFailed, PartMissing
from quarterhour.parts.home import END_POINTS_FILE, STATE_FILE, Home
from quarterhour.parts.kafka import Kafka
from quarterhour.parts.postgres import Postgres

__all__ = ["Endpoints", "PartFailed", "PartMissing", "Parts"]

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the parts of a home answer."""

    kafka_brokers: str
    postgres_dsn: str


def _silent(_message: str) -> None:
    pass


class Parts:
    """The parts of one home folder; any number of these, in any number of processes, agree on their state."""

    def __init__(self, home: Path) -> None:
        self._home = Home(home)
        self.kafka = Kafka(self._home)
        self.postgres = Postgres(self._home)

    def up(self, report: Report = _silent) -> Endpoints:
        """Start what is not running and wait until both answer and the database `quarterhour` exists.

        Idempotent, and safe when several processes call it at once. Raises PartMissing when something cannot
        be got, PartFailed when something does not start.
        """
        with self._exclusive(report):
            self.kafka.start(report)
            self.postgres.start(report)
            self.postgres.create_database()
            endpoints = Endpoints(self.kafka.brokers, self.postgres.dsn())
            self._home.write(END_POINTS_FILE, asdict(endpoints))
        return endpoints

    def down(self, wipe: bool = False, report: Report = _silent) -> None:
        """Stop both, in order; `wipe` also removes all they kept. Idempotent."""
        if not self._home.folder.exists():
            return
        with self._exclusive(report):
            (self._home.folder / END_POINTS_FILE).unlink(missing_ok=True)
            self.kafka.stop()
            self.postgres.stop()
            if wipe:
                self._wipe()

    def endpoints(self) -> Endpoints | None:
        """Where the parts answer; None unless both run."""
        if not (self.kafka.running and self.postgres.running):
            return None
        return Endpoints(self.kafka.brokers, self.postgres.dsn())

    @contextmanager
    def _exclusive(self, report: Report) -> Iterator[None]:
        try:
            with self._home.exclusive(report):
                yield
        except OSError as error:
            raise PartFailed(f"the home folder {self._home.folder} cannot be used: {error}") from error

    def _wipe(self) -> None:
        """Remove what we made, and nothing else that somebody put there."""
        self.postgres.wipe()
        for folder in ("kafka", "logs"):
            shutil.rmtree(self._home.folder / folder, ignore_errors=True)
        (self._home.folder / STATE_FILE).unlink(missing_ok=True)
