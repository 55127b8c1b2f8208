"""All drills, in the order of the table."""

from __future__ import annotations

from tests.drills import postgres, workers
from tests.drills.drill import Drill

DRILLS: tuple[Drill, ...] = (*workers.DRILLS, *postgres.DRILLS)
