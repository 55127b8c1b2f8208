"""Hostile input: the decode path with a million inputs, each of which must give an event or a dead letter."""

from tests.fuzz.running import Result, report, run

__all__ = ["Result", "report", "run"]
