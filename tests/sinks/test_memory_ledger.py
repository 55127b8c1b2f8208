"""The ledger that the simulation runs on does what every ledger does."""

from __future__ import annotations

import pytest

from tests.simulation.ledger import MemoryInspect, MemoryLedger
from tests.sinks.conftest import ALGORITHM
from tests.sinks.contract import LedgerContract


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger(ALGORITHM)


@pytest.fixture
def inspect(ledger: MemoryLedger) -> MemoryInspect:
    return MemoryInspect(ledger, ALGORITHM)


class TestMemoryLedger(LedgerContract):
    """The suite of every ledger."""
