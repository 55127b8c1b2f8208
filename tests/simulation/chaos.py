"""Everything that may go wrong, at any step of any worker, as the seed wants it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.simulation.kafka import SESSION_SECONDS
from tests.simulation.loop import Process, State

if TYPE_CHECKING:
    from tests.simulation.world import Life, World

MOST_FAULTS = 12
OVER_AFTER_SECONDS = 40.0


class Chaos:
    """Counts the steps of the workers down to the next fault, which strikes before a step: at any await."""

    def __init__(self, world: World, dice: Random) -> None:
        self._world = world
        self._dice = dice
        self._left = dice.randint(0, MOST_FAULTS)
        self._is_calm = False
        self._mean_steps = dice.choice((60, 150, 400))
        self._countdown = self._steps_to_next()
        self._faults = (
            *[self._crash] * 4,
            *[self._freeze] * 4,
            *[self._lose] * 3,
            *[self._slow] * 2,
            *[self._take_ledger_down] * 2,
            *[self._cut_from_broker] * 2,
            *[self._start_or_stop] * 3,
            *[self._rebalance] * 2,
        )

    def is_over(self) -> bool:
        """No more faults will come, and the last have had their time."""
        return self._left == 0 or self._world.loop.time() > OVER_AFTER_SECONDS

    def end(self) -> None:
        """From here on nothing goes wrong any more."""
        self._is_calm, self._left = True, 0

    def before_step(self, process: Process) -> None:
        """Maybe strike."""
        self._countdown -= 1
        if self._countdown < 0 and self._left:
            self._left -= 1
            self._countdown = self._steps_to_next()
            life = next(each for each in self._world.lives if each and each.process is process)
            self._dice.choice(self._faults)(life)

    def _steps_to_next(self) -> int:
        return int(self._dice.expovariate(1 / self._mean_steps))

    def _note(self, what: str, text: str) -> None:
        self._world.count(what)
        self._world.note(text)

    def _crash(self, life: Life) -> None:
        self._note("crashes", f"{life.name} crashes")
        self._world.bury(life)

    def _freeze(self, life: Life) -> None:
        seconds = self._dice.choice((0.5, SESSION_SECONDS + 1.0, SESSION_SECONDS + 4.0)) * self._dice.uniform(
            0.5, 1.2
        )
        self._note("freezes", f"{life.name} freezes for {seconds:.2f} s")
        life.process.state = State.FROZEN
        self._world.later(seconds, self._thaw, life)

    def _thaw(self, life: Life) -> None:
        if life.process.state is State.FROZEN:
            is_zombie = life.member not in self._world.broker.group.members
            self._note("zombies thawed" if is_zombie else "thaws", f"{life.name} thaws")
            self._world.loop.thaw(life.process)

    def _lose(self, life: Life) -> None:
        self._note("lossy times", "calls get lost")
        self._world.network.loss = 0.3
        self._world.later(self._dice.uniform(0.5, 4.0), self._world.network.heal)

    def _slow(self, life: Life) -> None:
        self._note("slow times", "the network is slow")
        self._world.network.slow_seconds = 2.0
        self._world.later(self._dice.uniform(0.5, 4.0), self._world.network.heal)

    def _take_ledger_down(self, life: Life) -> None:
        self._note("outages", "the ledger is down")
        self._world.network.is_down = True
        self._world.later(self._dice.choice((0.5, 2.0, 6.0)), self._world.network.heal)

    def _cut_from_broker(self, life: Life) -> None:
        self._note("cuts", f"{life.name} is cut off the broker")
        life.cut(self._dice.uniform(0.5, 2 * SESSION_SECONDS))

    def _start_or_stop(self, life: Life) -> None:
        slot = self._dice.randrange(len(self._world.lives))
        up = self._world.lives[slot] is None
        self._note("starts" if up else "stops", f"slot {slot} shall be {'up' if up else 'down'}")
        self._world.want(slot, up=up)
        self._world.later(self._dice.uniform(0.5, 5.0), self._restore, slot, not up)

    def _restore(self, slot: int, up: bool) -> None:
        if not self._is_calm:
            self._world.want(slot, up=up)

    def _rebalance(self, life: Life) -> None:
        """One after another: a claim may still be under way when the next one begins."""
        self._note("rebalances for no reason", "the group rebalances")
        group = self._world.broker.group
        group.rebalance()
        if self._dice.random() < 0.5:
            self._slow(life)
            for _ in range(4):
                self._world.later(self._dice.uniform(0.0, 6.0), group.rebalance)
