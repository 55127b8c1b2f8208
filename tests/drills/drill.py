"""A drill's description, its row in the table, and the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from quarterhour.parts import Parts
from tests.drills.stand import Stand, on_local_parts

if TYPE_CHECKING:
    from tests.drills.arena import Arena

NewStand = Callable[[Parts, Path], AbstractAsyncContextManager[Stand]]
Act = Callable[["Arena", int], Awaitable[None]]


@dataclass(frozen=True)
class Drill:
    """One kind of fault: `act` strikes so many times, `short_tries` of them in the suite."""

    name: str
    act: Act
    tries: int
    short_tries: int = 1
    stand: NewStand = on_local_parts


@dataclass
class Row:
    """What a drill showed."""

    fault: str
    tried: int = 0
    bit: int = 0
    bites: Counter[str] = field(default_factory=Counter)
    events: int = 0
    compared: int = 0
    wrong: int = 0
    recoveries: list[float] = field(default_factory=list)
    exits: Counter[int] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    """What is wrong."""
    notes: list[str] = field(default_factory=list)
    """What was measured beside the table."""

    @property
    def passed(self) -> bool:
        """Whether it bit, and nothing is wrong."""
        return self.bit > 0 and not self.wrong and not self.findings

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        bites = ", ".join(f"{name} {count}" for name, count in sorted(self.bites.items()))
        exits = ", ".join(f"{status}: {count}" for status, count in sorted(self.exits.items()))
        middle = f"{median(self.recoveries):.1f}" if self.recoveries else "-"
        longest = f"{max(self.recoveries):.1f}" if self.recoveries else "-"
        return (
            *(self.fault, str(self.tried), f"{self.bit} ({bites})" if bites else str(self.bit)),
            *(f"{self.events:,}", f"{self.compared:,}", str(self.wrong), middle, longest, exits or "-"),
        )


COLUMNS = (
    *("fault", "tried", "bit", "events", "records compared", "wrong"),
    *("recovery median s", "recovery max s", "exits of workers"),
)


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
