"""A short soak, and its instruments: the verdict in slices finds what is wrong, the slope what grows."""

import asyncio
import os
import socket
from itertools import count
from pathlib import Path

import pytest

from quarterhour.parts import Parts
from quarterhour.parts.topics import PARTITIONS
from tests.drills.drill import Row
from tests.drills.load import one_round
from tests.drills.slices import Digests, judge_in_slices
from tests.drills.soak import soak
from tests.drills.soak_report import Plan, Report, judge_vitals, shown
from tests.drills.verdict import Verdict, judge, read_log
from tests.drills.vitals import slope, slope_at_load, vitals
from tests.streams.stage import Stage, now_ms

SHORT = Plan(30, 5, fault_seconds=12, wave_seconds=5, rate=1_000)
DOUBLED = """
insert into billing.session_record
select (jsonb_populate_record(r, jsonb_build_object('session_id', gen_random_uuid()))).*
from billing.session_record r where status = 'final' limit 1
"""


async def test_a_short_soak_leaves_no_record_wrong(breakable_parts: Parts, tmp_path: Path) -> None:
    report = await soak(breakable_parts, tmp_path, SHORT, asyncio.Event(), tmp_path / "samples")
    print(f"\n{shown(SHORT, report)}")
    assert report.passed, "\n".join([shown(SHORT, report), *report.row.findings])
    assert report.row.tried == 2
    assert report.row.bit, "a fault may meet a worker that has just saved everything; not each of them does"
    assert report.row.compared > 5_000
    assert len((tmp_path / "samples").read_text().splitlines()) > 4


async def test_a_soak_that_is_told_to_stop_judges_what_was(parts: Parts, tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    report = await soak(parts, tmp_path, SHORT, stop)
    assert report.verdict_reached
    assert not report.row.wrong
    assert not report.row.findings
    assert report.seconds < SHORT.seconds / 2


async def test_slices_say_what_the_whole_says(stage: Stage, tmp_path: Path) -> None:
    folders = (tmp_path / str(number) for number in count())
    counts = {stage.topics[role]: partitions for role, partitions in PARTITIONS.items()}
    lines = list(one_round(3_000, 3, now_ms()))
    await stage.publish(lines)
    await stage.drain()

    async def in_slices(acknowledged: list[bytes]) -> Verdict:
        folder = next(folders)
        folder.mkdir()
        digests = Digests(folder, "acknowledged")
        digests.add(acknowledged)
        digests.flush()
        return await judge_in_slices(
            stage.brokers, stage.dsn, stage.topics, counts, [], folder, events=1_000_000
        )

    whole = await judge(
        stage.dsn, await read_log(stage.brokers, list(stage.topics.values())), stage.topics, counts
    )
    clean = await in_slices(lines)
    assert (clean.events, clean.compared, clean.wrong) == (whole.events, whole.compared, 0), clean.differences
    await stage.query(DOUBLED)
    wrong = await in_slices([*lines, b"never published"])
    assert [difference.partition(":")[0] for difference in wrong.differences] == [
        "session records",
        "Kafka has lost 1 acknowledged records",
        "records against their last change",
    ]


def test_a_slope_is_told_from_load() -> None:
    times = [0.0, 0.25, 0.5, 0.75, 1.0]
    load = [10.0, 40.0, 20.0, 50.0, 30.0]
    assert slope(times, [100 + 3 * at for at in times]) == pytest.approx(3)
    held = [100 + 2 * carried for carried in load]
    assert slope_at_load(times, held, load) == pytest.approx(0, abs=1e-9)
    leaking = [mib + 3 * at for mib, at in zip(held, times, strict=True)]
    assert slope_at_load(times, leaking, load) == pytest.approx(3)
    assert slope([1.0, 1.0], [2.0, 3.0]) is None


def test_vitals_count_descriptors_and_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port, before = server.getsockname()[1], vitals(os.getpid())
        with socket.create_connection(("127.0.0.1", port)):
            during = vitals(os.getpid())
        assert (during.descriptors, during.connections[port]) == (before.descriptors + 1, 1)
        assert before.connections[port] == 0
        assert 10 < before.anonymous_mib < before.rss_mib


@pytest.mark.parametrize(
    ("growth_mib_an_hour", "more_descriptors", "findings"), [(0, 0, 0), (100, 0, 3), (0, 1, 1)]
)
def test_what_grows_is_a_finding(growth_mib_an_hour: float, more_descriptors: int, findings: int) -> None:
    report = Report(Row("soak"))
    report.samples = [
        {
            **{"worker": "A", "at": at, "at_rest": True, "conversations": 1_000.0 + at % 7, "claims": 1},
            **{"rss_mib": 200 + growth_mib_an_hour * at / 3_600, "postgres": 2, "kafka": 2, "threads": 7},
            "descriptors": 24 + more_descriptors * (at // 300),
        }
        for at in range(0, 3_600, 60)
    ]
    judge_vitals(Plan.of_minutes(60, 1), report)
    assert len(report.row.findings) == findings, report.row.findings


def test_a_soak_asks_for_room_on_the_disk_by_its_length() -> None:
    assert SHORT.free_bytes < 1.2 * 2**30
    assert Plan.of_minutes(60, 1).free_bytes == 12 * 2**30
