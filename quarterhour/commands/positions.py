"""`quarterhour positions`: where the ledger stands in Kafka's logs, and going on where they no longer fit."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from quarterhour.errors import AnswerIsNo, PartUnreachable
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.output import emit, format_option
from quarterhour.settings import Settings, load_settings
from sessionizer.bill import ALGORITHM
from sinks.ledger import Refused, SourcePartition, SourceTopic, Unreachable
from sinks.migrate import require_current
from sinks.postgres import PostgresLedger
from sinks.taking_over import TakeOver, take_over
from streams import positions
from streams.positions import Standing, State, TopicLogs
from streams.sources import KafkaUnreachable, WrongTopics, check_partitions, find_logs

SHOWN = ["topic", "partition", "state", "ledger_offset", "log_start", "log_end", "lag", "gone"]
SHOWN_TAKEN = ["topic", "partition", "act", "ledger_offset", "next_offset", "gone", "kept_as"]


@dataclass(frozen=True, slots=True)
class Found:
    """The ledger, and then Kafka: what the ledger had read was in a log before."""

    known: dict[str, SourceTopic]
    topics: dict[str, TopicLogs]
    rows: list[Standing]


@click.command()
@click.option(
    "--take-over", "taking_over", is_flag=True, help="Print how to go on with Kafka's logs as they are."
)
@click.option("--yes", is_flag=True, help="With --take-over: do so.")
@format_option
def command(taking_over: bool, yes: bool, output_format: str) -> None:
    """Show where the ledger stands in Kafka's logs.

    One row for each source partition: the ledger's offset, where its log begins and ends, and its state.
    `ok`: it can be read on. `lost`: the log begins later, so that many offsets are gone. `beyond`: the log
    ends earlier. `other_topic`: the topic was deleted and created anew. `missing`: Kafka does not have it.
    Workers refuse (status 2) to go on from any state but ok, and this command then ends with status 1.

    First restore a newer backup of PostgreSQL if there is one, or have producers send the lost time again.
    Both are safe: an event is known by its source and id, so one that comes again counts as a repeat and is
    billed once.

    --take-over then says how to go on, and with --yes does it, in one transaction. A lost partition goes on
    where its log begins, and what is gone counts as gaps. A topic that was made anew or cut is read from the
    start of its logs; what was read of the old one stays counted under the name TOPIC@OLD-ID. Running workers
    are fenced. It needs the login that `quarterhour migrate` uses. What nobody sends again stays unbilled.

    Example:

    \b
      quarterhour positions --take-over
    """
    if yes and not taking_over:
        raise click.UsageError("--yes goes with --take-over")
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    try:
        if taking_over:
            asyncio.run(_take_over(settings, yes, output_format))
        else:
            _report(asyncio.run(_look(settings)), output_format)
    except (Unreachable, KafkaUnreachable) as error:
        raise PartUnreachable(str(error)) from error
    except (Refused, WrongTopics) as error:
        raise AnswerIsNo(str(error)) from error


async def _look(settings: Settings) -> Found:
    names = list(settings.topics.values())
    dsn = settings.require_postgres_dsn()
    await require_current(dsn)
    ledger = await PostgresLedger.open(dsn, algorithm=ALGORITHM)
    try:
        known = await ledger.known_topics(names)
        saved = await ledger.positions(names)
    finally:
        await ledger.close()
    brokers = {"bootstrap_servers": settings.require_kafka_brokers(), **security_options(settings)}
    topics = await find_logs(brokers, names)
    offsets = {source: position.next_offset for source, position in saved.items()}
    return Found(known, topics, positions.standings(names, known, offsets, topics))


def _report(found: Found, output_format: str) -> None:
    emit(output_format, [_row(row) for row in found.rows], SHOWN)
    _check_partitions(found)
    if troubled := [row for row in found.rows if row.state is not State.OK]:
        raise AnswerIsNo(
            f"{len(troubled)} of {len(found.rows)} partitions cannot be read on: "
            "see `quarterhour positions --help`"
        )


async def _take_over(settings: Settings, yes: bool, output_format: str) -> None:
    found = await _look(settings)
    _check_there(found)
    _check_partitions(found)
    plan = positions.take_over(
        found.rows, found.known, found.topics, datetime.now(UTC).isoformat(timespec="seconds")
    )
    if yes and (plan.passed or plan.anew):
        await take_over(settings.require_postgres_dsn(), plan)
    emit(output_format, list(_taken(plan)), SHOWN_TAKEN)
    if not plan.passed and not plan.anew:
        click.echo("every partition can be read on: nothing to take over", err=True)
    elif not yes:
        click.echo("nothing was changed: add --yes to do this", err=True)


def _check_there(found: Found) -> None:
    if missing := sorted({row.source.topic for row in found.rows if row.state is State.MISSING}):
        raise AnswerIsNo(f"missing in Kafka, in whole or in part: topic {', topic '.join(missing)}")


def _check_partitions(found: Found) -> None:
    now = {name: SourceTopic(len(topic.ranges), topic.topic_id) for name, topic in found.topics.items()}
    check_partitions(now, found.known)


def _row(row: Standing) -> dict[str, Any]:
    log_start, log_end = row.log or (None, None)
    return {
        **row.source._asdict(),
        "ledger_offset": row.ledger_offset,
        "log_start": log_start,
        "log_end": log_end,
        "lag": row.lag,
        "state": row.state.value,
        "gone": row.gone,
    }


def _taken(plan: TakeOver) -> Iterator[dict[str, Any]]:
    """What is done to each partition; `gone` are the offsets of its log that Kafka no longer holds."""
    for source, next_offset in plan.passed:
        offset = plan.seen[source]
        yield {
            **source._asdict(),
            "act": "pass_over",
            "ledger_offset": offset,
            "next_offset": next_offset,
            "gone": next_offset - offset,
            "kept_as": None,
        }
    for topic, _, log_starts, aside in plan.anew:
        for partition, start in log_starts.items():
            yield {
                "topic": topic,
                "partition": partition,
                "act": "read_anew",
                "ledger_offset": plan.seen.get(SourcePartition(topic, partition)),
                "next_offset": start,
                "gone": start,
                "kept_as": aside,
            }
