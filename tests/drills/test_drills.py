"""A short version of every drill; `make drills` runs the long ones."""

from pathlib import Path

import pytest

from quarterhour.parts import Parts
from tests.drills.catalogue import DRILLS
from tests.drills.drill import Drill, table
from tests.drills.running import run_drill


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.act.__name__)
async def test_the_bill_is_the_same_after(drill: Drill, breakable_parts: Parts, tmp_path: Path) -> None:
    row = await run_drill(drill, breakable_parts, tmp_path, drill.short_tries)
    print(f"\n{table([row])}")
    assert row.passed, "\n".join([table([row]), *row.findings])
    assert row.tried >= drill.short_tries
