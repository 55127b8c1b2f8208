"""A seeded event loop: time is virtual, and of what could run next a random handle does.

Nothing real can happen in it: no sockets, no threads, no clock. Every handle belongs to the process in whose
context it was made: those of a frozen process wait until it thaws, those of a dead one never run again, and
nothing of it is cleaned up, as after `kill -9`.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from heapq import heappop, heappush
from random import Random
from typing import Any


class State(Enum):
    """What becomes of a process's handles."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


class Process:
    """A simulated operating system process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.RUNNING
        self.held: list[Handle] = []


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Handle:
    """A callback that waits for its turn, maybe until a time."""

    __slots__ = ("_arguments", "_callback", "_cancelled", "_when", "context", "process")

    def __init__(
        self, callback: Callable[..., Any], arguments: tuple[Any, ...], context: Any, when: float
    ) -> None:
        self._callback: Callable[..., Any] | None = callback
        self._arguments = arguments
        self._when = when
        self._cancelled = False
        # An empty context is false, and yet a context.
        self.context: contextvars.Context = contextvars.copy_context() if context is None else context
        self.process = self.context.get(_PROCESS)

    def run(self) -> None:
        self.context.run(self._callback, *self._arguments)

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled


class Stuck(Exception):
    """Nothing more can happen, or too much has."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one simulation, whose every step follows from the seed."""

    def __init__(self, seed: str, most_steps: int) -> None:
        self.steps = 0
        self.errors: list[str] = []
        self.before_step: Callable[[Process], None] = lambda process: None
        """Called before each step of a process, which may freeze or kill it."""
        self._most_steps = most_steps
        self._draw = Random(seed).random
        self._now = 0.0
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._timers_made = 0
        self._tasks: list[asyncio.Task[Any]] = []

    # -- Processes

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task in a process."""
        context = contextvars.Context()
        context.run(_PROCESS.set, process)
        return self.create_task(work, context=context)

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on."""
        if process.state is State.FROZEN:
            process.state = State.RUNNING
            self._ready += process.held
            process.held = []

    # -- Running

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run until this work is done; return what it did."""
        events._set_running_loop(self)
        try:
            task = self.create_task(work, context=contextvars.Context())
            while not task.done():
                self._step()
            return task.result()
        finally:
            self._abandon()
            events._set_running_loop(None)

    def _step(self) -> None:
        ready = self._ready
        if not ready:
            self._pass_time()
            return
        chosen = int(self._draw() * len(ready))
        handle, ready[chosen] = ready[chosen], ready[-1]
        ready.pop()
        if handle.cancelled():
            return
        if handle.process is not None:
            if handle.process.state is State.RUNNING:
                self.before_step(handle.process)
            if handle.process.state is not State.RUNNING:
                handle.process.held.append(handle)
                return
        self.steps += 1
        if self.steps > self._most_steps:
            raise Stuck(f"not done after {self.steps} steps, {self._now:.1f} s")
        handle.run()

    def _pass_time(self) -> None:
        if not self._timers:
            raise Stuck("nothing can happen any more")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heappop(self._timers)[2])

    def _abandon(self) -> None:
        """End all tasks without a word: nothing that they still do can matter."""
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(RuntimeError):
                    task.get_coro().close()  # type: ignore[union-attr]

    # -- What asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = Handle(callback, args, context, 0.0)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        handle = Handle(callback, args, context, when)
        self._timers_made += 1
        heappush(self._timers, (when, self._timers_made, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)  # kept to the end, so that no coroutine is closed before
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")
