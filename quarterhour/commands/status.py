"""`quarterhour status`: do the parts answer, how far behind is the ledger, how many records does it hold."""

import asyncio
from dataclasses import dataclass
from typing import Any

import click

from quarterhour.database import pending_of_all
from quarterhour.errors import PartUnreachable
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.output import TABLE, emit, emit_object, format_option
from quarterhour.parts import Parts
from quarterhour.parts.topics import cluster_id, end_offsets
from quarterhour.settings import Settings, load_settings
from sessionizer.bill import ALGORITHM
from sinks.connecting import Role, connect
from sinks.ledger import Refused, Unreachable
from sinks.postgres import PostgresLedger

UP, DOWN, UNREACHABLE = "up", "down", "unreachable"

Offsets = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of the database; nothing but its state before it has the schema of this version."""

    state: str
    next_offsets: Offsets | None = None
    records: int | None = None


@click.command()
@format_option
def command(output_format: str) -> None:
    """Show the local parts, their end points, lag and records.

    Other brokers and databases that the settings name are shown in place of the local ones. Lag is the number
    of records in Kafka that the ledger has not taken in yet, in all and by partition; it and the number of
    session records are empty (null) while they cannot be told: a part does not answer or `quarterhour
    migrate` is due. Status 3 if a part does not answer.

    Example:

    \b
      quarterhour status --format json
    """
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    found = asyncio.run(_look(settings))
    _show(found, output_format)
    silent = [part["part"] for part in found["parts"] if part["state"] != UP]
    if silent:
        raise PartUnreachable(f"{' and '.join(silent)}: no answer; `quarterhour up` starts the local parts")


async def _look(settings: Settings) -> dict[str, Any]:
    kafka_state, ends = await _kafka(settings)
    ledger = await _ledger(settings)
    lags = _lags(ends, ledger.next_offsets)
    local = Parts(settings.home)
    return {
        "home": str(settings.home),
        "kafka_brokers": settings.kafka_brokers,
        "postgres_dsn": settings.postgres_dsn,
        "parts": [
            {"part": "Kafka", "state": kafka_state, "log": str(local.kafka.log_file)},
            {"part": "PostgreSQL", "state": ledger.state, "log": str(local.postgres.log_file)},
        ],
        "lag": None if lags is None else sum(row["lag"] for row in lags),
        "lag_by_partition": lags,
        "records": ledger.records,
    }


async def _kafka(settings: Settings) -> tuple[str, Offsets | None]:
    """Whether Kafka answers, and where the topics end."""
    if settings.kafka_brokers is None:
        return DOWN, None
    security = security_options(settings)
    if await cluster_id(settings.kafka_brokers, security) is None:
        return UNREACHABLE, None
    return UP, await end_offsets(settings.kafka_brokers, settings.topics.values(), security)


async def _ledger(settings: Settings) -> Ledger:
    if settings.postgres_dsn is None:
        return Ledger(DOWN)
    try:
        if await pending_of_all(settings.postgres_dsn):
            return Ledger(UP)
        next_offsets = await _next_offsets(settings.postgres_dsn, list(settings.topics.values()))
        return Ledger(UP, next_offsets, await _count_records(settings.postgres_dsn))
    except Unreachable:
        return Ledger(UNREACHABLE)
    except Refused as error:
        return Ledger(str(error))


async def _next_offsets(dsn: str, topics: list[str]) -> Offsets:
    ledger = await PostgresLedger.open(dsn, algorithm=ALGORITHM)
    try:
        positions = await ledger.positions(topics)
    finally:
        await ledger.close()
    return {(source.topic, source.partition): position.next_offset for source, position in positions.items()}


async def _count_records(dsn: str) -> int:
    connection = await connect(dsn, Role.READER)
    try:
        count: int = await connection.fetchval("select count(*) from billing.session_records")
        return count
    finally:
        await connection.close()


def _lags(ends: Offsets | None, next_offsets: Offsets | None) -> list[dict[str, Any]] | None:
    """By partition: the records published and not yet taken in; None if either side is unknown."""
    if ends is None or next_offsets is None:
        return None
    return [
        {"topic": topic, "partition": partition, "lag": end - next_offsets.get((topic, partition), 0)}
        for (topic, partition), end in sorted(ends.items())
    ]


def _show(found: dict[str, Any], output_format: str) -> None:
    if output_format != TABLE:
        emit_object(found)
        return
    emit(TABLE, found["parts"])
    shown = ("kafka_brokers", "postgres_dsn", "lag", "records")
    emit(TABLE, [{"of the ledger": name, "value": found[name]} for name in shown])
