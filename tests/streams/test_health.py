"""Health tells the truth: the judgement with plain numbers, then each reason on a real worker."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.topics import Topic
from sinks.ledger import SourcePartition
from streams.conditions import Progress, Seen
from streams.exits import Exit
from streams.health import CALL_SECONDS, JOIN_SECONDS, Code, Health, Limits

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {"conv": Topic.CONVERSATION, "hand": Topic.AGENT_HANDOFF, "alert": Topic.ALERT_DELIVERY}
COUNTS = {"conv": 2, "hand": 2, "alert": 1}
LIMITS = Limits(patience=60.0, checkpoint_interval=0.5)
UNHEALTHY_SECONDS = 65.0
SOURCE = SourcePartition("conv", 0)
OTHER = SourcePartition("hand", 0)
DONE = Progress(saved=10, merged=10, handed_over=10, readable_end=10, log_end=10)
IDLE = Seen(claim=1, counts=COUNTS, progress={SOURCE: DONE, OTHER: DONE})


class Watched:
    """A worker that is looked at once a second; Kafka answers and checkpoints commit unless told not to."""

    def __init__(self, seen: Seen = IDLE, *, answers: bool = True, commits: bool = True) -> None:
        self.health = Health(LIMITS, TOPICS, COUNTS)
        self.answers = answers
        self.commits = commits
        self.now = self.answered_at = 1000
        self.committed = 0
        self.seen = seen
        self.look()

    def look(self) -> None:
        self.answered_at = self.now if self.answers else self.answered_at
        self.committed += self.commits and self.seen.claim is not None
        progress = {
            source: each if each.fetched_ms else replace(each, fetched_ms=self.answered_at)
            for source, each in self.seen.progress.items()
        }
        counted = {"checkpoints": self.committed, "metadata_ms": self.answered_at}
        self.health.observe(replace(self.seen, progress=progress, **counted), self.now)

    def pass_by(self, seconds: float, seen: Seen | None = None) -> "Watched":
        """Look each second of so many, and see this from now on."""
        self.seen = seen or self.seen
        for _ in range(round(seconds)):
            self.now += 1
            self.look()
        return self

    @property
    def codes(self) -> list[Code]:
        return [code for code, _ in self.health.not_ready()]

    @property
    def texts(self) -> str:
        return "\n".join(text for _, text in self.health.not_ready())

    @property
    def end(self) -> Exit | None:
        end = self.health.must_end()
        return end.status if end else None


def where(progress: Progress, seen: Seen = IDLE) -> Seen:
    return replace(seen, progress={**seen.progress, SOURCE: progress})


UNREAD = replace(DONE, readable_end=20, log_end=20)
UNPROCESSED = replace(UNREAD, handed_over=20)
BLOCKED = replace(DONE, log_end=20)


def test_an_idle_worker_is_ready_and_healthy_for_hours() -> None:
    worker = Watched().pass_by(3 * 3600)
    assert (worker.codes, worker.health.unhealthy(), worker.end) == ([], None, None)


def test_a_spare_worker_is_ready_and_healthy_for_hours() -> None:
    worker = Watched(Seen(spare=True, counts=COUNTS)).pass_by(3 * 3600)
    assert (worker.codes, worker.health.unhealthy(), worker.end) == ([], None, None)


def test_a_busy_worker_that_is_always_behind_is_ready_and_healthy() -> None:
    worker = Watched()
    for offset in range(0, 2000, 10):
        worker.pass_by(1, where(replace(UNPROCESSED, saved=offset, handed_over=offset + 9, log_end=9999)))
    assert (worker.codes, worker.health.unhealthy(), worker.end) == ([], None, None)


def test_a_worker_without_claim_is_not_ready() -> None:
    worker = Watched(Seen(counts=COUNTS))
    assert worker.codes == [Code.NOT_CLAIMED]


def test_a_long_rebalance_is_not_unhealthy_and_ends_a_worker_only_when_patience_and_joining_are_over() -> (
    None
):
    worker = Watched(Seen(counts=COUNTS)).pass_by(LIMITS.patience + JOIN_SECONDS)
    assert (worker.codes, worker.health.unhealthy(), worker.end) == ([Code.NOT_CLAIMED], None, None)
    assert worker.pass_by(1).end is Exit.OUT_OF_PATIENCE


def test_no_progress_with_lag_is_named_with_place_and_figures() -> None:
    worker = Watched().pass_by(5).pass_by(LIMITS.no_progress + 1, where(UNREAD))
    assert worker.codes == []
    worker.pass_by(1)
    assert worker.codes == [Code.NO_PROGRESS]
    assert worker.texts == (
        "conv partition 0: no progress for 16 s at offset 10, Kafka's log ends at 20 and can be read to 20"
    )


def test_progress_makes_ready_again() -> None:
    worker = Watched().pass_by(40, where(UNREAD))
    assert worker.codes == [Code.NO_PROGRESS]
    assert worker.pass_by(1, where(replace(UNREAD, saved=11))).codes == []


def test_an_open_transaction_is_told_from_a_stuck_worker_and_is_nothing_a_restart_mends() -> None:
    worker = Watched().pass_by(4 * UNHEALTHY_SECONDS, where(BLOCKED))
    assert (worker.codes, worker.health.unhealthy(), worker.end) == ([Code.OPEN_TRANSACTION], None, None)
    assert "a producer's transaction that begins there is open" in worker.texts


def test_a_checkpoint_is_overdue_after_ten_intervals() -> None:
    worker = Watched()
    worker.commits = False
    assert worker.pass_by(6).codes == []
    assert worker.pass_by(1).codes == [Code.CHECKPOINT_OVERDUE]


def test_a_checkpoint_that_never_succeeds_is_overdue_too() -> None:
    worker = Watched(Seen(counts=COUNTS), commits=False).pass_by(3)
    assert worker.pass_by(8, IDLE).codes == [Code.CHECKPOINT_OVERDUE]
    assert worker.texts == "no checkpoint for 6 s"


def test_a_new_claim_has_its_own_time_for_a_checkpoint() -> None:
    worker = Watched(commits=False).pass_by(20)
    assert worker.pass_by(3, replace(worker.seen, claim=2)).codes == []


def test_checkpoints_that_hang_for_no_reason_are_unhealthy_even_without_traffic() -> None:
    worker = Watched(commits=False).pass_by(UNHEALTHY_SECONDS + 1)
    assert worker.health.unhealthy() is None
    assert worker.pass_by(1).health.unhealthy() == "no checkpoint for 66 s"


def test_a_missing_topic_is_a_reason_at_once() -> None:
    worker = Watched().pass_by(3).pass_by(1, replace(IDLE, counts={**COUNTS, "alert": None}))
    assert worker.codes == [Code.TOPIC_MISSING]
    assert "topic alert" in worker.texts


def test_a_topic_missing_for_a_moment_ends_nothing_and_one_missing_for_longer_than_patience_does() -> None:
    gone = replace(IDLE, counts={**COUNTS, "alert": None})
    worker = Watched().pass_by(LIMITS.patience, gone).pass_by(1, IDLE)
    assert (worker.codes, worker.end) == ([], None)
    worker.pass_by(LIMITS.patience + 1, gone)
    assert worker.end is None
    assert worker.pass_by(1).end is Exit.REFUSED


def test_topics_are_not_missing_before_the_first_metadata() -> None:
    worker = Watched(Seen(counts=dict.fromkeys(COUNTS))).pass_by(30)
    assert worker.codes == [Code.NOT_CLAIMED]


def test_what_stands_still_while_a_topic_is_missing_is_not_unhealthy() -> None:
    gone = replace(where(UNPROCESSED), counts={**COUNTS, "alert": None})
    worker = Watched(commits=False).pass_by(2 * UNHEALTHY_SECONDS, gone)
    assert worker.health.unhealthy() is None


def test_a_topic_missing_in_metadata_that_nobody_renews_is_no_refusal() -> None:
    worker = Watched().pass_by(3).pass_by(1, Seen(spare=True, counts={**COUNTS, "alert": None}))
    worker.answers = False
    worker.pass_by(LIMITS.patience + 12)
    assert worker.end is Exit.OUT_OF_PATIENCE


def test_a_changed_number_of_partitions_is_a_reason_and_an_end_at_once() -> None:
    worker = Watched().pass_by(1, replace(IDLE, counts={**COUNTS, "alert": 3}))
    assert (worker.codes, worker.end) == ([Code.PARTITIONS_CHANGED], Exit.REFUSED)
    assert worker.texts.startswith("topic alert has 3 partitions now and had 1: its keys have moved; ")
    assert "`quarterhour repartition`" in worker.texts


def test_topics_no_longer_co_partitioned_are_named() -> None:
    worker = Watched().pass_by(1, replace(IDLE, counts={**COUNTS, "hand": 4}))
    assert worker.codes == [Code.PARTITIONS_CHANGED, Code.NOT_COPARTITIONED]
    assert "topic conv has 2 partitions and hand 4" in worker.texts


def test_waiting_is_not_ready_and_never_unhealthy() -> None:
    waiting = replace(where(UNPROCESSED), waiting_for="PostgreSQL: OSError: gone")
    worker = Watched(commits=False).pass_by(10 * UNHEALTHY_SECONDS, waiting)
    assert Code.WAITING in worker.codes
    assert "waiting for PostgreSQL: OSError: gone" in worker.texts
    assert (worker.health.unhealthy(), worker.end) == (None, None)


def test_after_waiting_the_worker_has_its_whole_time_again() -> None:
    waiting = replace(where(UNPROCESSED), waiting_for="PostgreSQL: OSError: gone")
    worker = Watched(commits=False).pass_by(10 * UNHEALTHY_SECONDS, waiting)
    assert worker.pass_by(UNHEALTHY_SECONDS, where(UNPROCESSED)).health.unhealthy() is None


def test_kafka_that_answers_no_fetch_is_named_and_ends_the_worker_after_patience() -> None:
    worker = Watched().pass_by(3)
    worker.answers = False
    assert worker.pass_by(6).codes == []
    assert worker.pass_by(1).codes == [Code.KAFKA_SILENT]
    assert worker.texts == "Kafka has answered no fetch for 6 s"
    assert worker.pass_by(LIMITS.patience - 6).end is None
    assert worker.pass_by(1).end is Exit.OUT_OF_PATIENCE


def test_one_partition_that_kafka_answers_is_enough_for_a_worker_to_go_on_and_the_other_is_named() -> None:
    worker = Watched(answers=False)
    for second in range(1, 300):
        progress = {**IDLE.progress, OTHER: replace(DONE, fetched_ms=second)}
        worker.pass_by(1, replace(worker.seen, progress=progress))
    assert (worker.codes, worker.end) == ([Code.KAFKA_SILENT], None)
    assert "Kafka has answered no fetch of conv partition 0 for " in worker.texts


def test_a_spare_worker_notices_that_kafka_is_gone_by_its_metadata() -> None:
    worker = Watched(Seen(spare=True, counts=COUNTS)).pass_by(3)
    worker.answers = False
    assert worker.pass_by(16).codes == []
    assert worker.pass_by(1).codes == [Code.KAFKA_SILENT]
    assert worker.end is None
    assert worker.pass_by(LIMITS.patience).end is Exit.OUT_OF_PATIENCE


@pytest.mark.parametrize("stuck", [UNREAD, UNPROCESSED, replace(UNREAD, held=True)])
def test_readable_records_without_progress_are_unhealthy_and_then_end_the_process(stuck: Progress) -> None:
    worker = Watched().pass_by(UNHEALTHY_SECONDS + 1, where(stuck))
    assert worker.health.unhealthy() is None
    worker.pass_by(1)
    assert "conv partition 0: no progress for 66 s" in (worker.health.unhealthy() or "")
    assert worker.end is None
    worker.pass_by(UNHEALTHY_SECONDS - 1)
    assert worker.end is None
    assert worker.pass_by(1).end is Exit.BUG


def test_records_that_nobody_takes_are_the_workers_fault_though_no_fetch_is_answered() -> None:
    worker = Watched().pass_by(3)
    worker.answers = False
    held = {source: replace(UNREAD, held=True) for source in IDLE.progress}
    worker.pass_by(2 * UNHEALTHY_SECONDS + 2, replace(worker.seen, progress=held))
    assert worker.codes == [Code.NO_PROGRESS, Code.NO_PROGRESS]
    assert worker.end is Exit.BUG


def test_a_partition_that_kafka_does_not_answer_for_is_not_the_workers_fault() -> None:
    worker = Watched(answers=False)
    for second in range(1, 300):
        progress = {SOURCE: UNREAD, OTHER: replace(DONE, fetched_ms=second)}
        worker.pass_by(1, replace(worker.seen, progress=progress))
    assert worker.codes == [Code.NO_PROGRESS, Code.KAFKA_SILENT]
    assert (worker.health.unhealthy(), worker.end) == (None, None)


def test_a_call_that_takes_its_time_is_not_unhealthy_and_one_that_never_ends_is() -> None:
    worker = Watched(commits=False).pass_by(UNHEALTHY_SECONDS, where(UNPROCESSED))
    worker.pass_by(CALL_SECONDS + 1, replace(where(UNPROCESSED), calling=True))
    assert worker.health.unhealthy() is None
    assert worker.pass_by(1).health.unhealthy() is not None


def test_a_claim_lost_and_made_again_starts_all_times_anew() -> None:
    worker = Watched(commits=False).pass_by(UNHEALTHY_SECONDS, where(UNPROCESSED))
    worker.pass_by(1, Seen(counts=COUNTS)).pass_by(10, replace(where(UNPROCESSED), claim=2))
    assert worker.health.unhealthy() is None
    assert Code.NO_PROGRESS not in worker.codes


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    worker = Watched().pass_by(10, where(UNPROCESSED))
    worker.answers = worker.commits = False
    worker.now += 3600
    worker.look()
    assert (worker.codes, worker.end) == ([], None)


def test_every_code_is_explained_to_operators() -> None:
    rows = [line for line in (ROOT / "streams" / "README.md").read_text().splitlines() if line[:3] == "| `"]
    explained = {line.split("`")[1] for line in rows if line.count("|") == 4}
    assert set(map(str, Code)) <= explained


def a_worker_in_trouble() -> Mapping[Code, Watched]:
    """One worker for each code."""
    overdue = Watched(commits=False).pass_by(20)
    silent = Watched().pass_by(3)
    silent.answers = False
    return {
        Code.NOT_CLAIMED: Watched(Seen(counts=COUNTS)),
        Code.NO_PROGRESS: Watched().pass_by(20, where(UNREAD)),
        Code.OPEN_TRANSACTION: Watched().pass_by(20, where(BLOCKED)),
        Code.CHECKPOINT_OVERDUE: overdue,
        Code.TOPIC_MISSING: Watched().pass_by(1, replace(IDLE, counts={**COUNTS, "conv": None})),
        Code.PARTITIONS_CHANGED: Watched().pass_by(1, replace(IDLE, counts={**COUNTS, "conv": 4})),
        Code.NOT_COPARTITIONED: Watched().pass_by(1, replace(IDLE, counts={**COUNTS, "conv": 4})),
        Code.WAITING: Watched().pass_by(1, replace(IDLE, waiting_for="PostgreSQL: gone")),
        Code.KAFKA_SILENT: silent.pass_by(10),
    }


@pytest.mark.parametrize("code", Code)
def test_every_code_can_be_had(code: Code) -> None:
    assert code in a_worker_in_trouble()[code].codes
