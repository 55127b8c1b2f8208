"""All drills, in the order of the table."""

from __future__ import annotations

from tests.drills import clocks, freezes, kafka, postgres, postgres_network, restoring, topics, workers
from tests.drills.drill import Drill

DRILLS: tuple[Drill, ...] = (
    *workers.DRILLS,
    *freezes.DRILLS,
    *clocks.DRILLS,
    *postgres.DRILLS,
    *postgres_network.DRILLS,
    *restoring.DRILLS,
    *kafka.DRILLS,
    *topics.DRILLS,
)
