"""The bot clock: it stands still while a human has the conversation (section 4).

bot(t) = t minus all human-agent time before t. This module knows intervals only, and no facts.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final


class BotClock:
    """The clock that stands still in these intervals, which are separate and in order (`spans.merged`)."""

    __slots__ = ("_agent_before_ms", "_shown_ms", "_starts_ms", "intervals")

    def __init__(self, intervals: Sequence[tuple[int, int]]) -> None:
        self.intervals = intervals
        self._starts_ms = [start_ms for start_ms, _ in intervals]
        self._shown_ms: list[int] = []  # in each interval; intervals that touch are one, so these only grow
        self._agent_before_ms = [0]  # before each interval, and after all
        for start_ms, end_ms in intervals:
            agent_ms = self._agent_before_ms[-1]
            self._shown_ms.append(start_ms - agent_ms)
            self._agent_before_ms.append(agent_ms + end_ms - start_ms)

    def stands_still(self, time_ms: int) -> bool:
        """Say whether `time_ms` lies inside an interval."""
        begun = bisect_right(self._starts_ms, time_ms)
        return begun > 0 and time_ms < self.intervals[begun - 1][1]

    def at(self, time_ms: int) -> int:
        """Return the bot time at a wall time."""
        begun = bisect_right(self._starts_ms, time_ms)
        running_ms = time_ms - self._agent_before_ms[begun]
        # Inside the last interval begun, not all of its time is before `time_ms`.
        return max(running_ms, self._shown_ms[begun - 1]) if begun else running_ms

    def earliest_wall_ms(self, bot_ms: int) -> int:
        """Return the first wall time at which the clock shows `bot_ms`."""
        return bot_ms + self._agent_before_ms[bisect_left(self._shown_ms, bot_ms)]

    def latest_wall_ms(self, bot_ms: int) -> int:
        """Return the last wall time at which the clock shows `bot_ms`."""
        return bot_ms + self._agent_before_ms[bisect_right(self._shown_ms, bot_ms)]


WALL_CLOCK: Final = BotClock(())
