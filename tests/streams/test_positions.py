"""Where a ledger stands in Kafka's logs, and what taking over means: without either."""

from uuid import UUID

import pytest

from sinks.ledger import SourcePartition, SourceTopic
from sinks.taking_over import PassOver, ReadAnew, TakeOver
from streams.positions import (
    LogRange,
    Standing,
    State,
    TopicLogs,
    standings,
    state_in,
    take_over,
    why_refused,
)

OLD, NEW = UUID(int=1), UUID(int=2)
A0, A1, B0 = SourcePartition("a", 0), SourcePartition("a", 1), SourcePartition("b", 0)
NOON = "2026-10-03T12:00:00+00:00"


@pytest.mark.parametrize(
    ("offset", "state"),
    [(None, "ok"), (9, "lost"), (10, "ok"), (15, "ok"), (20, "ok"), (21, "beyond")],
)
def test_a_log_holds_an_offset_from_its_first_to_the_one_after_its_last(
    offset: int | None, state: str
) -> None:
    assert state_in((10, 20), offset) == state


def test_what_is_refused_says_where_how_much_is_gone_and_the_way_on() -> None:
    assert why_refused(A0, 15, (10, 20)) is None
    lost, beyond = why_refused(A0, 3, (10, 20)), why_refused(A0, 25, (10, 20))
    assert lost and lost.startswith(
        "a partition 0: the ledger is at offset 3 and Kafka's log begins at 10: 7 "
    )
    assert beyond and "is at offset 25 and Kafka's log ends at 20" in beyond
    assert all("`quarterhour positions --take-over`" in text for text in (lost, beyond))


def test_lag_and_what_is_gone_are_told_where_offsets_mean_something() -> None:
    def figures(offset: int | None, log: LogRange | None, state: State) -> tuple[int | None, int | None]:
        standing = Standing(A0, offset, log, state)
        return standing.lag, standing.gone

    assert figures(15, (10, 20), State.OK) == (5, 0)
    assert figures(None, (10, 20), State.OK) == (10, 0)
    assert figures(3, (10, 20), State.LOST) == (10, 7)
    assert figures(25, (10, 20), State.BEYOND) == (None, None)
    assert figures(15, (10, 20), State.OTHER_TOPIC) == (None, None)
    assert figures(15, None, State.MISSING) == (None, None)


def test_each_partition_that_the_ledger_or_kafka_has_gets_its_state() -> None:
    known = {"a": SourceTopic(2, OLD), "b": SourceTopic(2, OLD), "c": SourceTopic(2, None)}
    found = {"a": TopicLogs(NEW, {0: (0, 9), 1: (0, 9)}), "b": TopicLogs(OLD, {0: (2, 9), 2: (0, 9)})}
    offsets = {A0: 5, B0: 1, SourcePartition("b", 1): 3, SourcePartition("other", 0): 3}
    rows = standings(["d", "c", "b", "a"], known, offsets, found)
    assert [(*row.source, row.ledger_offset, str(row.state)) for row in rows] == [
        ("a", 0, 5, "other_topic"),
        ("a", 1, None, "other_topic"),
        ("b", 0, 1, "lost"),
        ("b", 1, 3, "missing"),
        ("b", 2, None, "ok"),
        ("c", 0, None, "missing"),
        ("c", 1, None, "missing"),
        ("d", 0, None, "missing"),
    ]


def test_an_id_that_was_not_kept_is_no_other_topic() -> None:
    [row] = standings(["a"], {"a": SourceTopic(1, None)}, {A0: 5}, {"a": TopicLogs(NEW, {0: (0, 9)})})
    assert row.state is State.OK


def test_lost_partitions_are_passed_over_and_the_others_left_alone() -> None:
    plan = _plan(SourceTopic(2, OLD), TopicLogs(OLD, {0: (7, 9), 1: (0, 9)}), {A0: 5, A1: 5})
    assert plan == TakeOver(seen={A0: 5, A1: 5}, passed=[PassOver(A0, 7)], anew=[])


def test_nothing_is_taken_over_where_all_is_ok() -> None:
    plan = _plan(SourceTopic(2, OLD), TopicLogs(OLD, {0: (0, 9), 1: (0, 9)}), {A0: 5, A1: 5})
    assert plan == TakeOver(seen={}, passed=[], anew=[])


@pytest.mark.parametrize(
    ("known", "found", "aside"),
    [
        (OLD, NEW, f"a@{OLD}"),
        (None, NEW, "a@unknown"),
        (OLD, OLD, f"a@{OLD}@{NOON}"),
    ],
)
def test_one_partition_beyond_its_log_has_the_whole_topic_read_anew(
    known: UUID | None, found: UUID, aside: str
) -> None:
    plan = _plan(SourceTopic(2, known), TopicLogs(found, {0: (3, 4), 1: (7, 9)}), {A0: 5, A1: 5})
    assert plan == TakeOver(seen={A0: 5, A1: 5}, passed=[], anew=[ReadAnew("a", found, {0: 3, 1: 7}, aside)])


def _plan(known: SourceTopic, found: TopicLogs, offsets: dict[SourcePartition, int]) -> TakeOver:
    topics, logs = {"a": known}, {"a": found}
    return take_over(standings(["a"], topics, offsets, logs), topics, logs, NOON)
