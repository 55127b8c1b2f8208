"""Who uses Docker gets the versions and settings of the local parts."""

import subprocess
from pathlib import Path

import pytest

from quarterhour.parts import postgres
from quarterhour.parts.jars import KAFKA_VERSION
from quarterhour.parts.kafka import PROPERTIES
from quarterhour.parts.topics import PARTITIONS, REJECTED_EVENTS_PARTITIONS

COMPOSE = (Path(__file__).parents[2] / "deploy" / "compose.yaml").read_text()
# Compose has a listener more, for its other services.
OF_COMPOSE_ALONE = {"listener.security.protocol.map"}


@pytest.mark.parametrize("name", sorted(PROPERTIES.keys() - OF_COMPOSE_ALONE))
def test_kafka_has_the_same_setting(name):
    variable = f"KAFKA_{name.upper().replace('.', '_')}"
    assert f'      {variable}: "{PROPERTIES[name]}"\n' in COMPOSE


def test_kafka_and_postgres_have_the_same_versions(parts):
    program = postgres.installed_folder() / "bin" / "postgres"
    version = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    assert (
        COMPOSE.count(f"image: apache/kafka:{KAFKA_VERSION}\n") == COMPOSE.count("image: apache/kafka") == 2
    )
    assert COMPOSE.count(f"image: postgres:{version}\n") == COMPOSE.count("image: postgres") == 1


def test_postgres_sorts_and_answers_the_same():
    assert " ".join(option for option in postgres.INITDB if not option.startswith("--auth")) in COMPOSE
    for name in ("timezone", "max_connections", "shared_buffers", "max_wal_size"):
        assert f'"{name}={postgres.SETTINGS[name]}"' in COMPOSE


def test_the_topics_are_the_same():
    for role, partitions in PARTITIONS.items():
        assert f"        create {role} {partitions}\n" in COMPOSE
    assert f"        create rejected-events {REJECTED_EVENTS_PARTITIONS}\n" in COMPOSE
