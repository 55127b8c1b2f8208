"""`quarterhour repartition`: going on after partitions were added to the source topics."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from quarterhour.errors import AnswerIsNo, PartUnreachable
from quarterhour.kafka import security_options
from quarterhour.logs import set_up_logs
from quarterhour.output import emit, format_option
from quarterhour.settings import Settings, load_settings
from schemas.outcomes import Outcome
from schemas.reasons import Reason
from schemas.topics import Topic
from sessionizer.bill import ALGORITHM
from sessionizer.rules import RuleBook, RuleSet
from sinks.ledger import Fenced, Refused, SourceTopic, Unreachable
from sinks.migrate import require_current
from sinks.postgres import PostgresLedger
from sinks.repartitioning import Layout, Moved, Repartition, count_moves, repartition
from streams.conversations import CorruptFacts
from streams.draining import READING, Drained, drain
from streams.engine import OutOfPatience, Plan
from streams.positions import State, TopicLogs, standings, why_another, why_refused
from streams.reading import Contract
from streams.sources import KafkaUnreachable, WrongTopics, find_logs, inspect, open_consumer

SHOWN = [
    *("topic", "partitions", "new_partitions", "unread", "read", "dead_letters", "wrong_partition"),
    *("unread_in_added", "gone_in_added", "conversations", "records"),
]
NO_LIMIT_RUN = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """A topic with more partitions than the ledger knows."""

    topic: str
    role: Topic
    known: SourceTopic
    logs: TopicLogs
    unread: int
    """Offsets in the partitions that the ledger knows."""

    @property
    def found(self) -> SourceTopic:
        """As Kafka has it."""
        return SourceTopic(len(self.logs.ranges), self.logs.topic_id)

    @property
    def added(self) -> list[tuple[int, int]]:
        """The logs of the partitions that the ledger does not know: where they begin and end."""
        return [self.logs.ranges[number] for number in range(self.known.partitions, self.found.partitions)]


@click.command()
@click.option("--yes", is_flag=True, help="Do it. Without this it is only shown.")
@format_option
def command(yes: bool, output_format: str) -> None:
    """Go on after partitions were added to the source topics.

    The number of partitions decides which one a key belongs to, so workers stop (status 2) when it changes.
    conversation and agent-handoff need the same number; alert-delivery may have another. First stop all
    workers; producers may go on.

    A row for each topic that changed: partitions before and after; `unread` offsets in the old ones;
    `unread_in_added` in the new ones, and `gone_in_added` that Kafka no longer holds there; conversations and
    records that go to another shard. With --yes this process first reads the old partitions by their old
    number to the ends they have, then gives all that moves its new shard, in one transaction. After a crash
    run it again. Then start the workers.

    A record that was keyed by the new number and lay in an old partition becomes a dead letter
    `wrong_partition`; so does what a producer still sends by the old one. `quarterhour dead-letters replay
    --reason wrong_partition` sends them to where they belong: nothing is lost. What waits in new partitions
    for longer than QUARTERHOUR_ALLOWED_LATENESS may come as corrections. It needs the login that `quarterhour
    migrate` uses.

    Example:

    \b
      quarterhour repartition --yes
    """
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    try:
        asyncio.run(_repartition(settings, yes, output_format))
    except (Unreachable, KafkaUnreachable, OutOfPatience) as error:
        raise PartUnreachable(str(error)) from error
    except Fenced as error:
        raise AnswerIsNo(f"{error}; stop all workers, then run this again") from error
    except (Refused, WrongTopics, CorruptFacts) as error:
        raise AnswerIsNo(str(error)) from error


async def _repartition(settings: Settings, yes: bool, output_format: str) -> None:
    dsn = settings.require_postgres_dsn()
    await require_current(dsn)
    ledger = await PostgresLedger.open(dsn, algorithm=ALGORITHM)
    try:
        changes = await _look(settings, ledger)
        if not changes:
            click.echo("every topic has as many partitions as at first: nothing to repartition", err=True)
        elif yes:
            drained = await _drain(settings, ledger, changes)
            plan = Repartition(drained.owner, drained.offsets, await _layouts(settings, changes))
            moved = await repartition(dsn, plan)
            rows = list(_rows(changes, moved, drained))
            emit(output_format, rows, SHOWN)
            _tell_done(rows)
        else:
            moved = await count_moves(dsn, [_layout(change, change.logs) for change in changes])
            emit(output_format, list(_rows(changes, moved, None)), SHOWN)
            click.echo("nothing was changed: stop all workers, then add --yes to do this", err=True)
    finally:
        await ledger.close()


async def _look(settings: Settings, ledger: PostgresLedger) -> list[Change]:
    """The topics that have changed; raises `WrongTopics` for what no repartition mends."""
    roles = {name: role for role, name in settings.topics.items()}
    names = list(roles)
    known = await ledger.known_topics(names)
    saved = await ledger.positions(names)
    connection = _connection(settings)
    _check_topics(await inspect(connection, roles), known)
    logs = await find_logs(connection, names)
    offsets = {source: position.next_offset for source, position in saved.items()}
    unread: Counter[str] = Counter()
    for row in standings(names, known, offsets, logs):
        if row.log and row.ledger_offset is not None and row.state is not State.OK:
            raise WrongTopics(why_refused(row.source, row.ledger_offset, row.log))
        if row.source.topic in known and row.source.partition < known[row.source.topic].partitions:
            unread[row.source.topic] += row.lag or 0
    return [
        Change(name, roles[name], known[name], logs[name], unread[name])
        for name in names
        if name in known and known[name].partitions != len(logs[name].ranges)
    ]


def _check_topics(found: Mapping[str, SourceTopic], known: Mapping[str, SourceTopic]) -> None:
    for name, before in known.items():
        now = found[name]
        if now.topic_id and before.topic_id and now.topic_id != before.topic_id:
            raise WrongTopics(why_another(name, now.topic_id, before.topic_id))
        if now.partitions < before.partitions:
            raise WrongTopics(
                f"topic {name} has {now.partitions} partitions and had {before.partitions}: what was read of "
                "the others cannot be told apart from what is there, so this is another topic"
            )


async def _drain(settings: Settings, ledger: PostgresLedger, changes: Sequence[Change]) -> Drained:
    plan = Plan(
        topics={change.topic: change.role for change in changes},
        partitions={change.topic: change.known.partitions for change in changes},
        rules=RuleBook(RuleSet(**row) for row in await ledger.rule_sets()),
        contract=Contract(settings.max_ahead_ms, settings.max_age_ms, frozenset(settings.ignored_types)),
        allowed_lateness_ms=settings.allowed_lateness_ms,
        patience_ms=settings.patience_ms,
        dead_letter_limit_share=1,  # most may be where the new number puts them
        dead_letter_limit_run=NO_LIMIT_RUN,
        max_state_bytes=settings.max_state_mib << 20,
    )
    async with open_consumer({**_connection(settings), **READING}) as consumer:
        return await drain(consumer, ledger, plan, {change.topic: change.found for change in changes})


async def _layouts(settings: Settings, changes: Sequence[Change]) -> list[Layout]:
    """Where the added logs begin now: what is gone from them cannot be read any more."""
    logs = await find_logs(_connection(settings), [change.topic for change in changes])
    return [_layout(change, logs[change.topic]) for change in changes]


def _layout(change: Change, logs: TopicLogs) -> Layout:
    before, now = change.known.partitions, change.found.partitions
    added = {number: logs.ranges[number][0] for number in range(before, now)}
    return Layout(change.topic, change.role, now, added)


def _connection(settings: Settings) -> dict[str, Any]:
    return {"bootstrap_servers": settings.require_kafka_brokers(), **security_options(settings)}


def _rows(
    changes: Sequence[Change], moved: Mapping[str, Moved], drained: Drained | None
) -> Iterator[dict[str, Any]]:
    for change in changes:
        yield {
            "topic": change.topic,
            "partitions": change.known.partitions,
            "new_partitions": change.found.partitions,
            "unread": change.unread,
            **(_figures(change.topic, drained) if drained else {}),
            "unread_in_added": sum(end - start for start, end in change.added),
            "gone_in_added": sum(start for start, _ in change.added),
            **moved[change.topic]._asdict(),
        }


def _figures(topic: str, drained: Drained) -> dict[str, int]:
    """How many records were read, and what was wrong with some."""
    counts = {key: count for key, count in drained.outcomes.items() if key.source.topic == topic}
    dead = {key: count for key, count in counts.items() if key.outcome == Outcome.DEAD_LETTER}
    misplaced = [count for key, count in dead.items() if key.reason == Reason.WRONG_PARTITION]
    return {
        "read": sum(counts.values()),
        "dead_letters": sum(dead.values()),
        "wrong_partition": sum(misplaced),
    }


def _tell_done(rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo("done: start the workers", err=True)
    if misplaced := sum(row["wrong_partition"] for row in rows):
        click.echo(
            f"{misplaced} records lay where the new number of partitions puts them: dead letters now; "
            "`quarterhour dead-letters replay --reason wrong_partition` sends them to where they belong",
            err=True,
        )
