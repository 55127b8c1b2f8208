"""Generated traffic: the same bytes for the same arguments, and the shares that its documentation names."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from functools import lru_cache
from itertools import takewhile
from typing import Any

import pytest
from click.testing import CliRunner

from quarterhour.cli import main
from quarterhour.lines import decode_line
from quarterhour.traffic import live_traffic, traffic
from quarterhour.traffic.faults import FAULTS, spoil
from schemas.decode import Rejected, check_clock, parse_time_ms
from schemas.events import Event
from schemas.reasons import Reason
from schemas.topics import Topic
from sessionizer import reference
from sessionizer.batch import sessionize
from sessionizer.rules import RuleBook

UNTIL_MS = parse_time_ms("2026-10-03T09:00:00Z")
MINUTE_MS = 60_000
MAX_AHEAD_MS, MAX_AGE_MS = 5 * MINUTE_MS, 400 * 86_400_000


@lru_cache
def lines_of(events: int, seed: int = 2, **options: bool) -> list[bytes]:
    return list(traffic(events, seed, UNTIL_MS, **options))


@lru_cache
def decoded(events: int, seed: int = 2, **options: bool) -> list[tuple[Event, int]]:
    return [decode_line(line)[:2] for line in lines_of(events, seed, **options)]


def conversations(events: list[tuple[Event, int]]) -> dict[str, list[tuple[Any, int]]]:
    found = defaultdict(list)
    for event, time_ms in events:
        data: Any = event["data"]
        if "conversation_id" in data:
            found[data["conversation_id"]].append((event, time_ms))
    return found


@pytest.mark.parametrize("options", [{}, {"faults": True}, {"hostile": True}], ids=str)
@pytest.mark.parametrize("events", [1, 7, 1_000, 25_000])
def test_there_are_as_many_lines_as_asked_for(events: int, options: dict[str, bool]) -> None:
    assert len(lines_of(events, **options)) == events
    assert not any(b"\n" in line for line in lines_of(events, **options))


def test_the_bytes_are_the_same_on_every_machine_and_python() -> None:
    def digest(**options: bool) -> str:
        return hashlib.sha256(b"\n".join(lines_of(25_000, **options))).hexdigest()[:16]

    assert [digest(), digest(faults=True), digest(hostile=True)] == [
        "ba1f0b71d4d9b211",
        "fde82abe7d61f403",
        "be55a89b0a1056b6",
    ]


def test_another_process_writes_the_same_bytes() -> None:
    arguments = ["traffic", "--events", "500", "--seed", "2", "--until", "2026-10-03T11:00:00+02:00"]
    run = subprocess.run(
        [sys.executable, "-m", "quarterhour", *arguments], capture_output=True, check=True, timeout=60
    )
    assert run.stdout == b"".join(line + b"\n" for line in lines_of(500))


def test_number_seed_and_time_each_change_the_ids() -> None:
    runs = [
        traffic(100, 1, UNTIL_MS),
        traffic(101, 1, UNTIL_MS),
        traffic(100, 2, UNTIL_MS),
        traffic(100, 1, 0),
    ]
    ids = [{json.loads(line)["id"] for line in run} for run in runs]
    assert all(first.isdisjoint(second) for first in ids for second in ids if first is not second)


def test_every_line_is_valid_and_none_is_in_the_future() -> None:
    assert all(UNTIL_MS - 9 * 60 * MINUTE_MS < time_ms <= UNTIL_MS for _, time_ms in decoded(25_000))


def test_the_shares_are_those_that_the_documentation_names() -> None:
    by_conversation = conversations(decoded(100_000))
    number = len(by_conversation)

    def share(holds: Any) -> float:
        return float(sum(map(holds, by_conversation.values())) / number)

    def has(kind: str) -> Any:
        return lambda events: any(event["type"] == kind for event, _ in events)

    def length_ms(events: list[tuple[Any, int]]) -> int:
        times = [time_ms for _, time_ms in events]
        return max(times) - min(times)

    assert 23 < sum(map(len, by_conversation.values())) / number < 28
    assert 0.08 < share(has("handoff.started.v1")) < 0.12
    assert 0.06 < share(has("handoff.ended.v1")) < 0.10
    assert 0.30 < share(has("conversation.closed.v1")) < 0.50
    assert 0.01 < share(lambda events: events[0][0]["data"]["developer"]) < 0.02
    assert 0.30 < share(lambda events: length_ms(events) > 15 * MINUTE_MS) < 0.60
    assert 0.10 < share(lambda events: length_ms(events) > 31 * MINUTE_MS) < 0.30
    assert (
        0.02 < share(lambda events: all(event["data"].get("author") == "bot" for event, _ in events)) < 0.05
    )
    assert 0.01 < 1 - number * 25 / 100_000 < 0.10  # alerts, and what was delivered twice


def test_about_one_line_in_a_hundred_is_a_copy_and_few_are_conflicts() -> None:
    lines = lines_of(100_000)
    identities = {(event["source"], event["id"]) for event, _ in decoded(100_000)}
    copies = len(lines) - len(set(lines))
    conflicts = len(set(lines)) - len(identities)
    assert 0.008 < copies / len(lines) < 0.012
    assert 0.0002 < conflicts / len(lines) < 0.001


def test_most_copies_come_long_after_the_first_delivery() -> None:
    place: dict[bytes, int] = {}
    distances = []
    for number, line in enumerate(lines_of(100_000)):
        distances.append(number - place.setdefault(line, number))
    assert sum(distance > 500 for distance in distances) > 0.8 * sum(distance > 0 for distance in distances)


def test_lines_are_in_time_order_but_for_those_displaced_by_up_to_ten_minutes() -> None:
    newest_ms, lateness_ms, seen = 0, [], set()
    for (_, time_ms), line in zip(decoded(100_000), lines_of(100_000), strict=True):
        if line not in seen:  # copies come later still
            lateness_ms.append(newest_ms - time_ms)
        seen.add(line)
        newest_ms = max(newest_ms, time_ms)
    late = [one for one in lateness_ms if one > 1_000]
    assert 0.03 < len(late) / len(lateness_ms) < 0.07
    assert sum(one > 10 * MINUTE_MS + 1_000 for one in late) < len(lateness_ms) * 0.0005  # conflicts


def test_all_six_types_channels_and_authors_occur() -> None:
    events: list[Any] = [event for event, _ in decoded(25_000)]
    assert len({event["type"] for event in events}) == 6
    assert {event["data"]["author"] for event in events if "author" in event["data"]} == {
        "user",
        "bot",
        "agent",
    }
    assert len({event["data"]["channel"] for event in events}) >= 4
    assert len({(event["data"]["account_id"], event["data"]["bot_id"]) for event in events}) >= 6
    assert {event["data"].get("reason") for event in events} >= {None, "solved"}


def test_one_line_in_a_thousand_is_a_fault_and_each_is_refused_for_its_reason() -> None:
    reasons: Counter[Reason] = Counter()
    for line in lines_of(100_000, faults=True):
        try:
            _, time_ms, _ = decode_line(line)
            check_clock(time_ms, UNTIL_MS, MAX_AHEAD_MS, MAX_AGE_MS)
        except Rejected as rejected:
            reasons[rejected.reason] += 1
    assert 70 < reasons.total() < 130
    assert set(reasons) == {fault.reason for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("kind", ["conversation.message.v1", "handoff.started.v1", "alert.delivered.v1"])
def test_a_fault_made_from_any_line_has_the_reason_it_names(fault: Any, kind: str) -> None:
    line = next(line for line in lines_of(25_000) if kind.encode() in line)
    with pytest.raises(Rejected) as caught:
        _, time_ms, topic = decode_line(spoil(line, fault))
        check_clock(time_ms, UNTIL_MS, MAX_AHEAD_MS, MAX_AGE_MS)
        assert topic is Topic.CONVERSATION
    assert caught.value.reason is fault.reason


def test_hostile_traffic_is_valid_and_hits_what_realistic_traffic_seldom_does() -> None:
    events = decoded(10_000, hostile=True)
    outcomes = reference.outcomes(map(json.loads, lines_of(10_000, hostile=True)))
    assert all(
        outcomes[outcome] > 100 for outcome in ("fact", "repeat", "conflict", "test_traffic", "unbilled")
    )
    assert max(time_ms for _, time_ms in events) <= UNTIL_MS
    by_conversation = conversations(events).values()
    ties = sum(len(found) - len({time_ms for _, time_ms in found}) for found in by_conversation)
    assert ties > 1_000
    records: list[Any] = sessionize(events, RuleBook())
    usage = [record for record in records if record["kind"] == "usage"]
    assert sum(record["bot_ms"] == 15 * MINUTE_MS for record in usage) > 20
    assert sum(record["agent_ms"] > 0 for record in usage) > 20
    assert max(record["block"] for record in usage) >= 3


def test_live_traffic_arrives_in_order_at_its_rate_and_is_never_ahead_of_its_arrival() -> None:
    flow = live_traffic(100, 2, UNTIL_MS, speed=20)
    arrivals = list(takewhile(lambda it: it[0] < UNTIL_MS + 20 * MINUTE_MS, flow))
    times = [at for at, _ in arrivals]
    last_minutes = [at for at in times if at >= UNTIL_MS + 15 * MINUTE_MS]
    assert times == sorted(times)
    assert all(UNTIL_MS <= decode_line(line)[1] <= at for at, line in arrivals)
    assert 0.9 < len(last_minutes) / (100 * 5 * 60) < 1.1


@pytest.mark.parametrize("hostile", [False, True])
def test_the_filter_agrees_with_the_reference_on_it(hostile: bool) -> None:
    events = decoded(3_000, 5, hostile=hostile)
    expected = reference.sessionize(map(json.loads, lines_of(3_000, 5, hostile=hostile)), None)
    assert sessionize(events, RuleBook()) == expected
    assert len(expected) > 100


def test_without_a_time_nothing_is_in_the_future() -> None:
    result = CliRunner().invoke(main, ["traffic", "--events", "2000", "--seed", "1"])
    newest_ms = max(decode_line(line)[1] for line in result.stdout_bytes.splitlines())
    assert newest_ms <= time.time_ns() // 1_000_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["--events", "0", "--seed", "1"],
        ["--events", "5"],
        ["--events", "5", "--seed", "1", "--until", "noon"],
        ["--events", "5", "--seed", "1", "--faults", "--hostile"],
    ],
    ids=" ".join,
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["traffic", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
