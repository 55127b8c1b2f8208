"""Each measurement runs at a very small size, checks its ledger, and ends up on the page."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quarterhour.parts import Parts
from tests.bench import plots
from tests.bench.catch_up import catch_up
from tests.bench.freshness import freshness
from tests.bench.ground import WORKER_CPU, on_ground
from tests.bench.growth import CURVES, EVENTS, PACE_MS, Size, grow
from tests.bench.invoices import invoicing
from tests.bench.memory import ORDERS, memory
from tests.bench.processes import BenchFailed
from tests.bench.results import Result, keep
from tests.bench.synthetic import Traffic, check
from tests.streams.stage import now_ms

SIZE = Size(2_000 / EVENTS)


async def whole(results: AsyncIterator[Result]) -> Result:
    """All that a measurement gives."""
    found: Result = {}
    async for result in results:
        found |= result
    return found


async def test_growth_measures_the_points_of_a_curve(parts: Parts) -> None:
    found = await whole(grow(parts, SIZE, 1, ["late"]))
    assert [(point["x"], point["late"]) for point in found["late"]["points"]] == [(0, 0), (1, 10), (10, 100)]
    assert all(point["events_per_second"] > 0 for point in found["late"]["points"])


async def test_memory_holds_every_open_conversation(parts: Parts) -> None:
    found = await whole(memory(parts, (100,), ORDERS))
    assert set(found) == set(ORDERS)
    for result in found.values():
        (point,) = result["points"]
        assert (point["conversations"], point["held"], point["events"]) == (100, 100, 2_500)
        assert point["rss_mib"] > point["empty_mib"] > 0


async def test_invoicing_is_measured_and_its_invoices_checked(parts: Parts) -> None:
    (point,) = (await whole(invoicing(parts, [3], 50)))["invoices"]["points"]
    assert (point["accounts"], point["records"]) == (3, 150)
    assert point["invoices_per_second"] > 0
    assert 0 < point["usage_p50_ms"] <= point["usage_p99_ms"]


async def test_freshness_times_every_probe_at_shares_of_live_capacity(parts: Parts) -> None:
    found = await whole(freshness(parts, guess=100, seconds=3.0, scale=SIZE.scale, most=100))
    capacity = found["capacity"]["events_per_second"]
    assert 0 < capacity <= 100
    assert [point["rate"] for point in found["freshness"]["points"]] == [
        round(capacity * share) for share in (0.9, 0.5, 0.1)
    ]
    for point in found["freshness"]["points"]:
        assert point["probes"] > 1
        assert 0 < point["p50_seconds"] <= point["p99_seconds"] <= point["most_seconds"]


async def test_catching_up_and_reading_again_are_measured(parts: Parts) -> None:
    found = await whole(catch_up(parts, 2_000))
    assert found["catch-up"]["events"] == found["replay"]["events"] == 2_000
    assert sum(found["replay"]["outcomes"].values()) == 2_000
    disk = found["disk"]
    assert disk["ledger_bytes"] > disk["records"] * 100 and disk["wal_bytes"] > disk["records"] * 100


async def test_a_ledger_that_bills_otherwise_fails_a_measurement(parts: Parts) -> None:
    async with on_ground(parts) as ground:
        traffic = Traffic("wrong", 20, 100)
        await ground.start()
        await ground.time(traffic.in_turns(range(5), PACE_MS, now_ms() - 5 * PACE_MS))
        await check(ground.dsn, traffic)
        await ground.query(
            "update billing.session_record set bot_ms = bot_ms + 1 where subject_id = 'c-wrong-0' returning 1"
        )
        with pytest.raises(BenchFailed, match="rows that differ: 1"):
            await check(ground.dsn, traffic)
        traffic.message(0, 5, now_ms())
        with pytest.raises(BenchFailed, match="sent .* counted"):
            await check(ground.dsn, traffic)


def test_a_result_is_drawn_and_replaces_what_the_page_said(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("above\n<!-- workers -->\nold\n<!-- /workers -->\nbelow\n")
    machine = dict.fromkeys(("cores", "processor", "python", "kafka", "postgresql"), "1")
    point = {"x": 1, "events": 9, WORKER_CPU: 3.5, "events_per_second": 1_000}
    point |= {f"{part}_cpu_seconds_per_million": 1.0 for part in ("postgres", "kafka")}
    result = {"points": [point, point | {"x": 4}], "exponent": 0.0, "commit": "c0ffee", "machine": machine}
    keep("growth", {"workers": result}, tmp_path)
    for _ in range(2):
        plots.draw(tmp_path, page)
        text = page.read_text()
        assert text.startswith("above\n<!-- workers -->\n![Workers](plots/workers.svg)\n")
        assert "| 4 | 9 | 3.50 | 1.00 | 1.00 | 1,000 |" in text
        assert "old" not in text
        assert text.endswith("<!-- /workers -->\nbelow\n")
    assert (tmp_path / "plots" / "workers.svg").read_text().count("<circle") == 6


def test_the_page_shows_the_results_that_are_kept(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    shutil.copy(plots.PAGE, page)
    plots.draw(plots.RESULTS, page)
    assert page.read_text() == plots.PAGE.read_text()
    for drawn in (tmp_path / plots.PLOTS).iterdir():
        assert drawn.read_text() == (plots.PAGE.parent / plots.PLOTS / drawn.name).read_text()
    for result in plots.RESULTS.glob("*.json"):
        assert json.loads(result.read_text())
    assert set(CURVES) <= set(plots.CURVES)
