"""Alert sessions: what is known of one alert delivery is the set of its reports (section 7).

A delivery's identity is itself alone: whatever event reports it, and however often, it is one alert session.
"""

from collections.abc import Iterable
from typing import NamedTuple

from schemas.outcomes import Outcome


class Report(NamedTuple):
    """One `alert.delivered.v1` of a delivery; the smallest is the first report, whose fields are billed."""

    time_ms: int
    user_id: str
    channel: str


class Delivery:
    """All reports of one delivery, told apart by content: so no count depends on their order."""

    __slots__ = ("reports",)

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        self.reports = set(reports)

    def add(self, report: Report) -> Outcome:
        """Add one report: FACT if its delivery is new, CONFLICT if the report is, else REPEAT."""
        if report in self.reports:
            return Outcome.REPEAT
        self.reports.add(report)
        return Outcome.FACT if len(self.reports) == 1 else Outcome.CONFLICT

    @property
    def first(self) -> Report:
        """The first report: earliest time, then smaller user_id, then channel; there is at least one."""
        return min(self.reports)
