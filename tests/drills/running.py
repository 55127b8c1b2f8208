"""Running a drill from its begin to its row."""

from __future__ import annotations

import traceback
from pathlib import Path

from quarterhour.parts import Parts
from tests.drills.arena import arena
from tests.drills.drill import Drill, Row


async def run_drill(drill: Drill, parts: Parts, folder: Path, tries: int, seed: int = 1) -> Row:
    """Strike so many times and compare; whatever goes wrong on the way becomes a finding of the row."""
    row = Row(drill.name)
    try:
        async with drill.stand(parts, folder) as stand, arena(stand, folder, drill.name, seed) as prepared:
            row = prepared.row
            await drill.act(prepared, tries)
            await prepared.conclude()
    except Exception:
        row.findings.append(traceback.format_exc())
    finally:
        parts.up()
    return row
