"""The simulation passes on the product, fails on broken ones, does what it says, and replays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation import PATCHES, PatchDoesNotApply, find, patching, run
from tests.simulation.verdict import Violation, check_bill, check_books
from tests.simulation.world import World

SEEDS = range(200)
MUST_HAPPEN = (
    "checkpoints",
    "corrections",
    "crashes",
    "cuts",
    "ends: Fenced",
    "ends: OutOfPatience",
    "ends: stopped",
    "fenced saves",
    "lost answers",
    "lost answers recognised",
    "lost requests",
    "outages",
    "rebalances",
    "stale batches",
    "thaws",
    "voids",
    "zombies thawed",
)


def test_whatever_goes_wrong_the_bill_is_right():
    result = run(SEEDS)
    assert [(failed.seed, failed.violation) for failed in result.failures] == []
    assert result.seeds == len(SEEDS)
    assert [what for what in MUST_HAPPEN if not result.happened[what]] == [], "and it did go wrong"


def test_a_seed_replays_step_by_step_in_another_process():
    traces = set()
    for hash_seed in ("1", "2"):
        code = (
            "from tests.simulation.world import World; print([World(s).run().fingerprint for s in range(12)])"
        )
        done = subprocess.run(
            (sys.executable, "-c", code),
            cwd=patching.ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert traces == {f"{[World(seed).run().fingerprint for seed in range(12)]}\n"}


def test_two_seeds_are_two_worlds():
    assert World(1).run().fingerprint != World(2).run().fingerprint


@pytest.mark.parametrize("patch", PATCHES)
def test_a_planted_bug_is_found(patch):
    found = find(patch, range(1_000))
    assert found, "1,000 seeds pass with a known bug"
    assert found.violation


def test_there_are_the_bugs_that_the_simulation_is_measured_by():
    assert set(PATCHES) == {
        "clock-past-open-transaction",
        "late-event-dropped",
        "offset-committed-first",
        "repeat-counted",
        "sealed-while-in-memory",
        "seek-after-first-batch",
        "zombie-not-fenced",
    }


def test_a_patch_that_applies_no_more_is_an_error(tmp_path: Path, monkeypatch):
    patch = (patching.FOLDER / "repeat-counted.patch").read_text()
    (tmp_path / "stale.patch").write_text(patch.replace("self._holds(fact)", "self._held(fact)"))
    monkeypatch.setattr(patching, "FOLDER", tmp_path)
    with pytest.raises(PatchDoesNotApply, match=r"stale: .*packed\.py"):
        find("stale", range(1))


def test_the_command_prints_a_seed_that_fails_and_how_to_replay_it():
    done = _command("--patch", "repeat-counted", "--seeds", "10")
    assert done.returncode == 0, done.stderr
    line, replay = done.stdout.splitlines()
    seed = replay.split("--seed ")[1].split()[0]
    assert f"found by seed {seed}" in line
    replayed = _command("--patch", "repeat-counted", "--seed", seed, "--trace")
    assert replayed.returncode == 1
    assert "VIOLATION: " in replayed.stdout


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "tests.simulation", *arguments),
        cwd=patching.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


class TestVerdict:
    """Each kind of wrong is seen in a ledger that was right before."""

    @pytest.fixture
    def world(self) -> World:
        world = World(0)
        assert not world.run().violation
        check_books(world.ledger)
        check_bill(world.ledger, world.written)
        return world

    def test_a_record_that_bills_otherwise(self, world):
        record = next(r for r in world.ledger.data.records.values() if r.status == "final")
        record.row = record.row._replace(ended_ms=record.row.ended_ms + 1)
        with pytest.raises(Violation, match="differ"):
            check_bill(world.ledger, world.written)

    def test_an_outcome_counted_twice(self, world):
        key = next(iter(world.ledger.data.outcomes))
        world.ledger.data.outcomes[key] += 1
        with pytest.raises(Violation, match="1} too many"):
            check_bill(world.ledger, world.written)

    def test_an_outcome_counted_for_another_partition(self, world):
        outcomes: Counter = world.ledger.data.outcomes
        key = next(iter(outcomes))
        outcomes[key] -= 1
        outcomes[key._replace(source=key.source._replace(partition=1 - key.source.partition))] += 1
        with pytest.raises(Violation, match="outcomes of"):
            check_bill(world.ledger, world.written)

    def test_a_dead_letter_that_is_missing(self, world):
        world.ledger.data.dead_letters.popitem()
        with pytest.raises(Violation, match="dead letters"):
            check_bill(world.ledger, world.written)

    def test_a_gap_that_was_not_there(self, world):
        place = next(iter(world.ledger.data.places.values()))
        place.gap_count += 1
        with pytest.raises(Violation, match="gaps"):
            check_bill(world.ledger, world.written)

    def test_a_change_that_nobody_was_told_of(self, world):
        del world.ledger.data.changes[-1]
        with pytest.raises(Violation, match="change"):
            check_books(world.ledger)

    def test_a_gap_in_the_positions_of_changes(self, world):
        del world.ledger.data.changes[0]
        with pytest.raises(Violation, match="gaps"):
            check_books(world.ledger)

    def test_facts_that_are_fewer_than_the_revision(self, world):
        chunks = next(iter(world.ledger.data.chunks.values()))
        chunks[-1] = chunks[-1]._replace(facts=chunks[-1].facts[18:])
        with pytest.raises(Violation, match="facts, revision"):
            check_books(world.ledger)

    def test_a_record_that_its_conversation_does_not_know(self, world):
        conversations = world.ledger.data.conversations
        key, row = next((key, row) for key, row in conversations.items() if row.record_ids)
        conversations[key] = row._replace(record_ids=b"")
        with pytest.raises(Violation, match="other records"):
            check_books(world.ledger)
