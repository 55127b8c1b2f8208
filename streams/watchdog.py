"""Two threads of last resort: for an event loop that stands still, and for a stop that does not end.

Kafka's heartbeats come from a thread of their own, so a hung worker would hold its partitions for ever.
"""

from __future__ import annotations

from threading import Event, Thread, Timer

from streams.exits import Exit, leave

LOOP_LIMIT_SECONDS = 30.0
STOP_LIMIT_SECONDS = 15.0
LOOKS = 10


class Watchdog:
    """Ends the process if `tick` is not called for longer than the limit."""

    def __init__(self, limit_seconds: float = LOOP_LIMIT_SECONDS) -> None:
        self._limit_seconds = limit_seconds
        self._ticked = False
        self._done = Event()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.tick()
        self._thread.start()

    def tick(self) -> None:
        """Say that the event loop runs."""
        self._ticked = True

    def stop(self) -> None:
        """Watch no longer."""
        self._done.set()

    def _watch(self) -> None:
        # Counts its own looks: in a process that was stopped and goes on, the loop has not had its turn yet.
        silent = 0
        while not self._done.wait(self._limit_seconds / LOOKS):
            silent = 0 if self._ticked else silent + 1
            self._ticked = False
            if silent > LOOKS:
                leave(Exit.BUG, f"the event loop has stood still for {self._limit_seconds:.0f} s")


def limit_stop(limit_seconds: float = STOP_LIMIT_SECONDS) -> None:
    """Give a stop that has begun so much time; then end the process."""

    def end() -> None:
        leave(Exit.BUG, f"did not stop within {limit_seconds:.0f} s")

    timer = Timer(limit_seconds, end)
    timer.daemon = True
    timer.start()
