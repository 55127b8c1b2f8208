"""Rule sets: the lengths that decide a bill, and which of them is in force for a bot at a time.

Rule sets are rows that are added and never changed. Where they are kept or read from is no business of this
module.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
SHORTEST_IDLE_TIMEOUT_MS: Final = 5 * MINUTE_MS
LONGEST_IDLE_TIMEOUT_MS: Final = 14 * DAY_MS
LONGEST_MS: Final = 36_500 * DAY_MS
"""Of a block and a handoff timeout: times of bills stay such as sessionizer.bills can reckon with."""


class InvalidRules(ValueError):
    """A rule set, or a list of them, that cannot be used: refuse it where it was given, before any bill."""

    code: Final = "invalid_rules"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The lengths in force from `effective_ms` on, for one bot or, without account and bot, for all."""

    effective_ms: int
    block_ms: int = 15 * MINUTE_MS
    idle_timeout_ms: int = 15 * MINUTE_MS
    handoff_timeout_ms: int = DAY_MS
    account_id: str | None = None
    bot_id: str | None = None

    def __post_init__(self) -> None:
        for name, length_ms in (
            ("block_ms", self.block_ms),
            ("handoff_timeout_ms", self.handoff_timeout_ms),
        ):
            if not 1 <= length_ms <= LONGEST_MS:
                raise InvalidRules(f"{name} is {length_ms}: 1 ms to 100 years are allowed")
        if not SHORTEST_IDLE_TIMEOUT_MS <= self.idle_timeout_ms <= LONGEST_IDLE_TIMEOUT_MS:
            raise InvalidRules(f"idle_timeout_ms is {self.idle_timeout_ms}: 5 minutes to 14 days are allowed")
        if (self.account_id is None) != (self.bot_id is None):
            raise InvalidRules("a rule set names both account_id and bot_id, or neither")


# Effective since before any time that an event can bear.
DEFAULT_RULES: Final = RuleSet(effective_ms=-(1 << 63))

_Scope = tuple[str | None, str | None]
_FOR_ALL: Final[_Scope] = (None, None)


class RuleBook:
    """All rule sets, and which one is in force; the default one is wherever none of them is."""

    __slots__ = ("_by_scope",)

    def __init__(self, rows: Iterable[RuleSet] = ()) -> None:
        self._by_scope: dict[_Scope, list[RuleSet]] = defaultdict(list)
        for row in sorted(rows, key=_effective_ms):
            earlier = self._by_scope[row.account_id, row.bot_id]
            if earlier and earlier[-1].effective_ms == row.effective_ms:
                raise InvalidRules(f"two rule sets of the same bot are effective from {row.effective_ms}")
            earlier.append(row)

    def in_force(self, account_id: str, bot_id: str, time_ms: int) -> RuleSet:
        """Return the rule set in force at `time_ms`: a bot's own goes before one for all, then the latest."""
        for scope in ((account_id, bot_id), _FOR_ALL):
            rows = self._by_scope.get(scope, ())
            count = bisect_right(rows, time_ms, key=_effective_ms)
            if count:
                return rows[count - 1]
        return DEFAULT_RULES


def _effective_ms(rules: RuleSet) -> int:
    return rules.effective_ms
