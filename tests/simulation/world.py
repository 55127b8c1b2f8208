"""One simulation: workers, logs, a ledger, and everything that may go wrong between them.

Seconds are those of the virtual loop. The wall clock of broker, producer and workers goes with them, and
leaps from one record's arrival to the next, so that hours and days of events pass in seconds.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from tests.simulation.chaos import Chaos
from tests.simulation.kafka import SOURCES, Broker, Group
from tests.simulation.loop import Process, SimulatedLoop, State, Stuck
from tests.simulation.network import Connection, Network
from tests.simulation.traffic import START_MS, Arrival, arrivals
from tests.simulation.verdict import Violation, WatchedLedger, check_bill, check_books
from tests.simulation.worker import PLAN, RULES, Surroundings, Worker

MOST_STEPS = 100_000
DRAINED_WITHIN_SECONDS = 60.0
POLL_SECONDS = 0.25
RESTART_SECONDS = 0.3
TRAVEL_SECONDS = 0.005
MINUTE_MS = 60_000
SLOTS = "abc"
# By then everything has settled, an endless handoff too.
REST_MS = RULES.handoff_timeout_ms + RULES.idle_timeout_ms + PLAN.allowed_lateness_ms + MINUTE_MS


@dataclass(frozen=True)
class Run:
    """What became of a seed: `violation` is empty if all held."""

    seed: int
    violation: str
    happened: Counter[str]
    records: int
    trace: list[str]

    @property
    def fingerprint(self) -> str:
        """Equal for two runs only if they were the same, step by step."""
        return sha256("\n".join(self.trace).encode()).hexdigest()


class Life(Surroundings):
    """One life of a worker: its process, and its links."""

    def __init__(self, world: World, slot: int, name: str) -> None:
        self.process = Process(name)
        self.broker = world.broker
        self.dice = world.dice
        self.slot = slot
        self.frozen_at = 0.0
        self._world = world
        self._cut_until = 0.0
        connection = Connection(name, world.ledger, world.network)
        self.member = SLOTS[slot] if world.is_static else name
        self.worker = Worker(name, self.member if world.is_static else None, connection, self)

    @property
    def name(self) -> str:
        return self.process.name

    def now_ms(self) -> int:
        return self._world.now_ms()

    def note(self, text: str) -> None:
        self._world.note(text)

    async def travel(self) -> None:
        """To the broker, or back."""
        await asyncio.sleep(self.dice.random() * TRAVEL_SECONDS)
        loop = asyncio.get_running_loop()
        while (left := self._cut_until - loop.time()) > 0:
            await asyncio.sleep(left)

    def cut(self, seconds: float) -> None:
        """Reach the broker no more for so long."""
        self._cut_until = self._world.loop.time() + seconds

    def ended(self, reason: str, *, expected: bool) -> None:
        self._world.has_ended(self, reason, expected=expected)


class World:
    """All there is in one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.trace: list[str] = []
        self.happened: Counter[str] = Counter()
        self.loop = SimulatedLoop(f"{seed}|schedule", MOST_STEPS)
        self.dice = Random(f"{seed}|world")
        self.context = Context()
        self.written: dict = {source: {} for source in SOURCES}
        self.lives: list[Life | None] = [None, None, None]
        self._wall_ms = START_MS
        self._lives_begun = 0
        self.is_static = self.dice.random() < 0.3
        self._wanted = [True, self.dice.random() < 0.8, self.dice.random() < 0.2]
        self._violations: list[str] = []

    # -- What everybody may ask

    def now_ms(self) -> int:
        """The wall clock."""
        return self._wall_ms + int(self.loop.time() * 1000)

    def note(self, text: str) -> None:
        """Put a line into the trace."""
        self.trace.append(f"{self.loop.time():9.3f} {self.loop.steps:6} {text}")

    def violated(self, what: str) -> None:
        """Something that must hold does not; the first one counts."""
        self.note(f"VIOLATION: {what}")
        self._violations.append(what)

    def count(self, what: str) -> None:
        self.happened[what] += 1

    def later(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        """Do something after a while, whatever becomes of the workers."""
        self.loop.call_later(seconds, act, *arguments, context=self.context)

    # -- Workers

    def begin(self, slot: int) -> None:
        """Start a worker where there is none, if there should be one."""
        if self.lives[slot] is None and self._wanted[slot]:
            self._lives_begun += 1
            life = self.lives[slot] = Life(self, slot, f"{SLOTS[slot]}{self._lives_begun}")
            self.note(f"{life.name} starts")
            self.loop.spawn(life.process, life.worker.start())

    def want(self, slot: int, *, up: bool) -> None:
        """Let there be a worker, or let it be stopped."""
        self._wanted[slot] = up
        life = self.lives[slot]
        if up:
            self.begin(slot)
        elif life and life.process.state is State.RUNNING:
            self.note(f"{life.name} is told to stop")
            self.loop.spawn(life.process, life.worker.stop())

    def has_ended(self, life: Life, reason: str, *, expected: bool) -> None:
        """A process is gone; its supervisor starts another."""
        self.note(f"{life.name} ends: {reason}")
        self.count(f"ends: {reason}" if expected else "unexpected ends")
        if not expected:
            self.violated(f"{life.name} ended with {reason}")
        self.bury(life)

    def bury(self, life: Life) -> None:
        """Nothing of this process runs any more."""
        life.process.state = State.DEAD
        self.happened["stale batches"] += life.worker.stale_batches + life.worker.engine.stale_batches
        if self.lives[life.slot] is life:
            self.lives[life.slot] = None
            self.later(RESTART_SECONDS + self.dice.random(), self.begin, life.slot)

    # -- The course of events

    def run(self) -> Run:
        """Play it through and judge it."""
        try:
            self.loop.run(self._play())
        except (Violation, Stuck) as error:
            self.violated(str(error))
        except Exception as error:  # the simulated world itself: no key twice in the ledger, for one
            self.violated(repr(error))
        for error in self.loop.errors:
            self.violated(error)
        first = self._violations[0] if self._violations else ""
        return Run(self.seed, first, self.happened, self.records, self.trace)

    async def _play(self) -> None:
        group = Group(self.dice, self.note)
        self.broker = Broker(group)
        self.network = Network(self.dice, self.note, long_share=self.dice.choice((0.0, 0.1, 0.3)))
        self.ledger = WatchedLedger(self.written, self.violated)
        self.chaos = Chaos(self, Random(f"{self.seed}|chaos"))
        self._commit_nonsense()
        for slot in range(len(self.lives)):
            self.begin(slot)
        self.loop.before_step = self.chaos.before_step
        await self._produce(arrivals(Random(f"{self.seed}|traffic")))
        await self._until(self.chaos.is_over, "the chaos is over")
        self._calm()
        await self._until(self._is_drained, "all is saved")
        self._wall_ms += REST_MS
        await self._until(self._is_final, "all is final")
        check_books(self.ledger)
        check_bill(self.ledger, self.written)
        self._sum_up()

    def _commit_nonsense(self) -> None:
        """The group's committed offsets are somebody's old ones, or there are none."""
        for source in SOURCES:
            if self.dice.random() < 0.5:
                self.broker.group.committed[source] = self.dice.randrange(12)

    async def _produce(self, coming: list[Arrival]) -> None:
        pauses = self.dice.choice((0.2, 0.6))
        for arrival in coming:
            if self.dice.random() < pauses:
                await asyncio.sleep(self.dice.random() * 0.3)
            self._wall_ms += max(0, arrival.at_ms - self.now_ms())
            self._append(arrival)
            self._give_up_if_violated()
        for source in SOURCES:
            self.broker.logs[source].commit(marker=False)
        self.broker.tell_readers()

    def _append(self, arrival: Arrival) -> None:
        """Into a transaction, which may go on, be committed, or be aborted and sent again.

        Now and then an operator wants a conversation billed anew.
        """
        log, chance = self.broker.logs[arrival.source], self.dice.random()
        if chance < 0.04 and log.end == log.stable_end:
            log.append(self.now_ms(), arrival.key, arrival.value)
            log.abort()
        offset = log.append(self.now_ms(), arrival.key, arrival.value)
        self.written[arrival.source][offset] = arrival
        if chance > 0.95 and (known := sorted(self.ledger.data.conversations)):
            self.ledger.data.requested.add(self.dice.choice(known))
            self.count("requests to bill anew")
        if chance < 0.85:
            log.commit(marker=chance < 0.2)
            self.broker.tell_readers()

    def _calm(self) -> None:
        """From here on nothing goes wrong any more."""
        self.note("calm")
        self.chaos.end()
        self.network.heal()
        self._wanted[0] = True
        for slot, life in enumerate(self.lives):
            if life:
                life.cut(0.0)
                self.loop.thaw(life.process)
            self.begin(slot)

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = self.loop.time() + DRAINED_WITHIN_SECONDS
        while not holds():
            self._give_up_if_violated()
            if self.loop.time() > deadline:
                raise Violation(f"not within {DRAINED_WITHIN_SECONDS:.0f} s: {what}")
            await asyncio.sleep(POLL_SECONDS)

    def _give_up_if_violated(self) -> None:
        if self._violations:
            raise Violation(f"{len(self._violations)} by now")

    def _is_drained(self) -> bool:
        places = self.ledger.data.places
        return all(
            source in places and places[source].next_offset == log.end
            for source, log in self.broker.logs.items()
        )

    def _is_final(self) -> bool:
        data = self.ledger.data
        return not data.requested and all(record.status != "open" for record in data.records.values())

    @property
    def records(self) -> int:
        """The records in the logs."""
        return sum(map(len, self.written.values()))

    def _sum_up(self) -> None:
        happened, changes = self.happened, self.ledger.data.changes
        for life in self.lives:
            if life:
                happened["stale batches"] += life.worker.stale_batches + life.worker.engine.stale_batches
        happened.update(self.network.happened)
        happened["rebalances"] = self.broker.group.rebalances
        happened["lost answers recognised"] = self.ledger.recognised
        happened["seals"] = self.ledger.seals
        happened["checkpoints"] = self.ledger.saves
        happened["corrections"] = sum(change.record.corrected_at is not None for change in changes)
        happened["voids"] = sum(change.record.status == "void" for change in changes)
