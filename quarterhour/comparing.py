"""Comparing session records with what the reference model says they should be. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records import FIELDS

# These depend on the order of arrival (billing-rules.md section 8); nothing else may.
ORDER_DEPENDENT = ("status", "revision", "corrected_at")
COMPARED = tuple(field.name for field in FIELDS if field.name not in ORDER_DEPENDENT)
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of records, matched by session id: which stand in one only, and which in both but differ."""

    left_rows: int
    right_rows: int
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether they bill the same; nothing compared with nothing is no proof, so it is not."""
        return self.left_rows > 0 and not (self.only_left or self.only_right or self.differing)

    def report(self, left: str, right: str) -> str:
        """For people, in several lines: the fields compared, the rows of both sides, and what differs."""
        lines = [
            f"fields compared: {', '.join(COMPARED)}",
            f"rows: {left} {self.left_rows:,}, {right} {self.right_rows:,}",
            f"rows in {left} only: {_count(self.only_left)}",
            f"rows in {right} only: {_count(self.only_right)}",
            f"rows that differ: {_count(self.differing)}",
        ]
        return "\n".join(lines)


def compare(left: Iterable[Mapping[str, Any]], right: Iterable[Mapping[str, Any]]) -> Comparison:
    """Match records by id; void ones are as good as absent."""
    left_bills, right_bills = _bills(left), _bills(right)
    both = left_bills.keys() & right_bills.keys()
    return Comparison(
        len(left_bills),
        len(right_bills),
        tuple(sorted(left_bills.keys() - right_bills.keys())),
        tuple(sorted(right_bills.keys() - left_bills.keys())),
        tuple(sorted(key for key in both if left_bills[key] != right_bills[key])),
    )


def _bills(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {
        record["session_id"]: tuple(record.get(name) for name in COMPARED)
        for record in records
        if record["status"] != "void"
    }


def _count(ids: tuple[str, ...]) -> str:
    shown = f" ({', '.join(ids[:EXAMPLES])}{', ...' if len(ids) > EXAMPLES else ''})" if ids else ""
    return f"{len(ids):,}{shown}"
