"""`quarterhour up`, `status` and `down` as a user or a script runs them."""

import json
import os
import subprocess
import sys

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from quarterhour.parts import Parts
from quarterhour.parts.topics import PARTITIONS, end_offsets, run

TIMEOUT_S = 120


@pytest.fixture
def quarterhour(tmp_path):
    """Runs a command with settings of the test's own and nothing of the user's."""

    def run_command(*arguments, **settings):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("QUARTERHOUR_")}
        return subprocess.run(
            [sys.executable, "-m", "quarterhour", *arguments],
            env=inherited | {f"QUARTERHOUR_{name.upper()}": str(value) for name, value in settings.items()},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    return run_command


@pytest.fixture
def status(quarterhour):
    def ask(expected_status=0, **settings):
        done = quarterhour("status", "--format", "json", **settings)
        assert done.returncode == expected_status, done.stdout + done.stderr
        (line,) = done.stdout.splitlines()
        return json.loads(line)

    return ask


def test_up_status_down_of_a_home(quarterhour, status, tmp_path):
    home = tmp_path / "home"
    try:
        started = quarterhour("up", home=home)
        assert started.returncode == 0, started.stderr
        (answer,) = map(json.loads, started.stdout.splitlines())
        assert set(run(end_offsets(answer["kafka_brokers"], PARTITIONS))) == {
            (role.value, partition) for role, count in PARTITIONS.items() for partition in range(count)
        }
        assert "created the topics" in started.stderr

        again = quarterhour("up", home=home)
        assert (again.returncode, again.stdout, again.stderr) == (0, started.stdout, "")

        seen = status(home=home)
        assert {part["part"]: part["state"] for part in seen["parts"]} == {"Kafka": "up", "PostgreSQL": "up"}
        assert (seen["kafka_brokers"], seen["postgres_dsn"]) == (
            answer["kafka_brokers"],
            answer["postgres_dsn"],
        )
        assert (seen["lag"], seen["records"]) == (None, None)  # not migrated yet

        # After an unclean end the old end points are still on file, and nobody answers there.
        Parts(home).kafka.kill()
        Parts(home).postgres.kill()
        dead = status(expected_status=3, home=home)
        assert {part["state"] for part in dead["parts"]} == {"unreachable"}
    finally:
        stopped = quarterhour("down", "--wipe", home=home)
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert {part["state"] for part in status(expected_status=3, home=home)["parts"]} == {"down"}


async def test_status_counts_what_the_ledger_has_not_taken_in(status, kafka_brokers, database, topics):
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers)
    await producer.start()
    conversation, _, alert = topics.values()
    await producer.send_and_wait(conversation, b"1", partition=7)
    await producer.send_and_wait(conversation, b"2", partition=7)
    await producer.send_and_wait(alert, b"3", partition=0)
    await producer.stop()
    connection = await asyncpg.connect(database)
    await connection.execute(
        "insert into billing.source_partition (topic, partition, next_offset, clock_ms, owner) "
        "values ($1, 7, 1, 0, gen_random_uuid())",
        conversation,
    )
    await connection.close()

    names = {f"topic_{role.name}": name for role, name in topics.items()}
    seen = status(kafka_brokers=kafka_brokers, postgres_dsn=database, **names)

    behind = {(row["topic"], row["partition"]): row["lag"] for row in seen["lag_by_partition"]}
    assert (len(behind), seen["lag"], seen["records"]) == (20, 2, 0)
    assert (behind[conversation, 7], behind[alert, 0]) == (1, 1)


def test_status_of_a_database_that_refuses_says_so(status, kafka_brokers, database):
    seen = status(expected_status=3, kafka_brokers=kafka_brokers, postgres_dsn=f"{database}-not-there")
    assert "does not exist" in seen["parts"][1]["state"]
    assert seen["parts"][0]["state"] == "up"


def test_up_without_a_way_to_kafkas_jars_ends_with_status_3_and_what_to_do(
    quarterhour, tmp_path, monkeypatch
):
    (tmp_path / "jgo.conf").write_text("[repositories]\nnowhere = http://127.0.0.1:9\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    done = quarterhour("up", home=tmp_path / "home")
    assert (done.returncode, done.stdout) == (3, "")
    assert "part_missing" in done.stderr
    assert "[repositories]" in done.stderr
