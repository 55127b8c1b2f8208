"""Deterministic simulation: the product's engine under a seeded scheduler, against the reference model.

`run(range(1000))` plays seeds and says what happened; `find("repeat-counted", range(1000))` plays them with a
known bug planted, in a copy of the product. `python -m tests.simulation` does both.

Real is all of `streams/engine.py` with what it imports, `streams/reads.py`, and the queue of Faust's library
mode. A model is Kafka, aiokafka, the order in which Faust does things, the ledger (which passes the real
one's contract suite), and time.
"""

from tests.simulation.campaign import Result, run
from tests.simulation.patching import PATCHES, Finding, PatchDoesNotApply, find

__all__ = ["PATCHES", "Finding", "PatchDoesNotApply", "Result", "find", "run"]
