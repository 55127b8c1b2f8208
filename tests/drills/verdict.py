"""What the ledger should hold, by the reference model and the log that Kafka holds; and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from quarterhour.comparing import compare
from quarterhour.settings import Settings
from schemas.decode import Rejected, check_clock, check_key, check_partition, decode
from schemas.topics import Topic, key_of
from sessionizer import reference
from sinks.views import read_session_records
from tests.drills.watch import session

SHOWN = 3

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""
Refused = tuple[str, bytes | None, bytes | None]
"""Reason, key and value of a dead letter."""

OFFSETS = """
select topic, partition, next_offset, gap_count, coalesce(sum(records), 0)::bigint as records
from billing.source_partition left join billing.outcome_count using (topic, partition)
group by topic, partition, next_offset, gap_count
"""
CHANGE_POSITIONS = """
select count(*) as n, coalesce(min(position), 1) as first, coalesce(max(position), 0) as last,
       (select last_position from billing.change_counter) as counter
from billing.session_record_change
"""
OTHER_THAN_LAST_CHANGE = """
with change as (
  select distinct on (session_id) * from billing.session_record_changes order by session_id, position desc
)
select coalesce(r.session_id, c.session_id)::text as session_id, r.status, r.revision, c.status as told,
       c.revision as told_revision, c.corrected_at as told_corrected_at
from billing.session_records r full join change c using (session_id)
where (r.status <> 'open' or c.session_id is not null)
  and (r.status, r.revision, r.corrected_at, r.started_at, r.ended_at,
       r.bot_ms, r.agent_ms, r.user_messages, r.bot_messages)
  is distinct from (c.status, c.revision, c.corrected_at, c.started_at, c.ended_at,
       c.bot_ms, c.agent_ms, c.user_messages, c.bot_messages)
  and not coalesce(r.status = 'open' and c.status = 'void' and c.corrected_at is null, false)
"""
"""Leaves out what became void before it ever was final and came back as open: the feed tells nothing open."""


class Logged(NamedTuple):
    """One record of Kafka's log."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


@dataclass
class Verdict:
    """How much was compared, and every difference in words."""

    events: int = 0
    compared: int = 0
    wrong: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Take another's findings in."""
        self.events += other.events
        self.compared += other.compared
        self.wrong += other.wrong
        self.differences += other.differences

    def count(self, what: str, compared: int, wrong: Collection[object]) -> None:
        """Note a comparison and what was wrong in it."""
        self.compared += compared
        self.wrong += len(wrong)
        if wrong:
            self.differences.append(f"{what}: {len(wrong)} wrong, such as {list(wrong)[:SHOWN]}")


async def read_log(brokers: str, topics: Collection[str]) -> list[Logged]:
    """All records that Kafka holds of these topics."""
    return [record async for part in read_parts(brokers, topics) for record in part]


async def read_parts(
    brokers: str, topics: Collection[str], share: int = 0, shares: int = 1
) -> AsyncIterator[list[Logged]]:
    """What Kafka holds of these topics, as a consumer may see it; of a share of the partitions only."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = (await _places(consumer, topics))[share::shares]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                yield [
                    Logged(place.topic, place.partition, it.offset, it.timestamp, it.key, it.value)
                    for it in records
                ]
    finally:
        await consumer.stop()


async def judge(
    dsn: str, log: Collection[Logged], topics: Mapping[Topic, str], counts: Mapping[str, int]
) -> Verdict:
    """Compare all that the ledger holds with what the reference model says of the log.

    `counts` are the numbers of partitions.
    """
    events, dead_letters = sort_out(log, topics, counts)
    verdict = Verdict(events=len(log))
    judge_records([record async for record in read_session_records(dsn)], events, verdict)
    await judge_totals(dsn, reference.outcomes(events), dead_letters, verdict)
    return verdict


async def judge_totals(
    dsn: str, outcomes: Counter[str], dead_letters: Mapping[Place, Refused], verdict: Verdict
) -> None:
    """Compare all that is not a session record."""
    async with session(dsn) as connection:
        await _judge_dead_letters(connection, dead_letters, verdict)
        await _judge_outcomes(connection, outcomes, dead_letters, verdict)
        await _judge_offsets(connection, verdict)
        await _judge_changes(connection, verdict)


def sort_out(
    log: Iterable[Logged], topics: Mapping[Topic, str], counts: Mapping[str, int]
) -> tuple[list[Any], dict[Place, Refused]]:
    """The good events of a log, and its dead letters."""
    roles = {name: role for role, name in topics.items()}
    settings = Settings.model_fields
    ahead_ms, age_ms = settings["max_ahead_ms"].default, settings["max_age_ms"].default
    events, dead_letters = [], {}
    for record in log:
        name = record.topic.partition("@")[0]  # of what was set aside when its topic was made anew
        try:
            event, time_ms = decode(record.value, roles[name])
            check_clock(time_ms, record.timestamp, ahead_ms, age_ms)
            key = key_of(event)
            check_key(key, record.key)
            check_partition(key, record.partition, counts[name])
            events.append(event)
        except Rejected as rejected:
            dead_letters[record[:3]] = (rejected.reason.value, record.key, record.value)
    return events, dead_letters


def judge_records(
    records: Iterable[Mapping[str, Any]],
    events: Iterable[Any],
    verdict: Verdict,
    rules: list[reference.Rules] | None = None,
) -> None:
    """Compare session records with the reference model's of these events."""
    found = compare(records, reference.sessionize(events, rules))
    wrong = [*found.only_left, *found.only_right, *found.differing]
    verdict.count("session records", max(found.left_rows, found.right_rows), wrong)


async def _judge_dead_letters(
    connection: asyncpg.Connection, expected: Mapping[Place, Refused], verdict: Verdict
) -> None:
    rows = await connection.fetch(
        'select topic, partition, "offset", reason, key, value from billing.dead_letter'
    )
    found = {tuple(row)[:3]: tuple(row)[3:] for row in rows}
    wrong = [place for place in found.keys() | expected.keys() if found.get(place) != expected.get(place)]
    verdict.count("dead letters", len(expected), wrong)


async def _judge_outcomes(
    connection: asyncpg.Connection,
    outcomes: Counter[str],
    dead_letters: Mapping[Place, Refused],
    verdict: Verdict,
) -> None:
    expected = Counter({(outcome, ""): n for outcome, n in outcomes.items()})
    expected.update(("dead_letter", reason) for reason, _, _ in dead_letters.values())
    rows = await connection.fetch(
        "select outcome, reason, sum(records)::bigint from billing.outcome_count group by 1, 2"
    )
    found = Counter({(outcome, reason): n for outcome, reason, n in rows})
    keys = found.keys() | expected.keys()
    wrong = [(key, found[key], expected[key]) for key in keys if found[key] != expected[key]]
    verdict.count("outcome counters (found, expected)", len(keys), wrong)


async def _judge_offsets(connection: asyncpg.Connection, verdict: Verdict) -> None:
    """Offsets read are the outcomes and the gaps, in every source partition (all logs begin at 0)."""
    rows = await connection.fetch(OFFSETS)
    wrong = [tuple(row) for row in rows if row["next_offset"] != row["gap_count"] + row["records"]]
    verdict.count("source partitions (offset, gaps, outcomes)", len(rows), wrong)


async def _judge_changes(connection: asyncpg.Connection, verdict: Verdict) -> None:
    """The change feed has no gaps, and its last word on a record is the record."""
    row = await connection.fetchrow(CHANGE_POSITIONS)
    gapless = row["first"] == 1 and row["last"] == row["n"] == row["counter"]
    verdict.count("positions of the change feed", 1, [] if gapless else [tuple(row)])
    wrong = [dict(row) for row in await connection.fetch(OTHER_THAN_LAST_CHANGE)]
    verdict.count("records against their last change", row["n"], wrong)


async def _places(consumer: AIOKafkaConsumer, topics: Collection[str]) -> list[TopicPartition]:
    cluster = await consumer._client.fetch_all_metadata()
    return [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in sorted(cluster.partitions_for_topic(topic) or ())
    ]
