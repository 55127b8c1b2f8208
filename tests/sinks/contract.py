"""What every ledger does, whatever it is made of: one suite, run on each of them.

A test class inherits `LedgerContract` and has two fixtures, `ledger` and `inspect`, on the same empty ledger.
Nothing here may know PostgreSQL.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import pytest

from sinks.ledger import (
    Checkpoint,
    DeadLetterRow,
    Fenced,
    Horizon,
    Ledger,
    LimitCounts,
    NamedConversation,
    OutcomeKey,
    Position,
    RecordChange,
    Seal,
    SealRow,
    SourcePartition,
    StoredAlert,
    StoredConversation,
)
from tests.sinks.builders import (
    ALERTS,
    HANDOFFS,
    MESSAGES,
    MINUTE_MS,
    NOON_MS,
    SHARD,
    Worker,
    alert,
    chunk,
    conversation,
    counted,
    dead_letter,
    id_of,
    report_row,
    reported,
    session,
    settled,
    start_worker,
    usage,
    void,
)


class Published(NamedTuple):
    """A session record as consumers see it; times in ms."""

    session_id: bytes
    kind: str
    account_id: str
    bot_id: str
    user_id: str
    channel: str
    conversation_id: str | None
    delivery_id: str | None
    session_started_ms: int | None
    block: int | None
    started_ms: int
    ended_ms: int
    bot_ms: int | None
    agent_ms: int | None
    user_messages: int | None
    bot_messages: int | None
    status: str
    revision: int
    corrected_at: datetime | None
    algorithm: int


class Change(NamedTuple):
    """A change of a session record as consumers poll it."""

    position: int
    record: Published


class Inspect(Protocol):
    """Reads back what a ledger holds, past its own methods."""

    async def records(self) -> list[Published]:
        """The session records, by session id."""
        ...

    async def changes(self, after: int = 0) -> list[Change]:
        """The changes after a position, in order."""
        ...

    async def positions(self) -> dict[SourcePartition, Position]:
        """Where each source partition stands."""
        ...

    async def gap_counts(self) -> dict[SourcePartition, int]:
        """The offsets of each source partition that held no record."""
        ...

    async def chunks(self, number: int) -> list[bytes]:
        """The chunks of facts of a conversation, in order."""
        ...

    async def outcome_counts(self) -> dict[OutcomeKey, int]:
        """The records read by outcome."""
        ...

    async def dead_letters(self) -> list[DeadLetterRow]:
        """The dead letters by position."""
        ...

    async def request_recompute(self, number: int) -> None:
        """Ask for a conversation to be billed anew, as an operator would."""
        ...

    async def everything(self) -> object:
        """All there is: equal to a later one if nothing was written between."""
        ...


async def one_record(inspect: Inspect) -> Published:
    [record] = await inspect.records()
    return record


async def statuses(inspect: Inspect) -> list[str]:
    return [record.status for record in await inspect.records()]


async def assert_fenced(ledger: Ledger, inspect: Inspect, checkpoint: Checkpoint) -> None:
    """It is refused and leaves no trace."""
    before = await inspect.everything()
    with pytest.raises(Fenced):
        await ledger.save(checkpoint)
    assert await inspect.everything() == before


async def saved_before(ledger: Ledger) -> Worker:
    """A worker that has saved a checkpoint."""
    worker = await start_worker(ledger)
    await ledger.save(worker.full_checkpoint())
    return worker


class ClaimContract:
    """Who may save a partition, and from where."""

    async def test_a_partition_never_seen_starts_at_its_earliest_offset(self, ledger, inspect):
        found = await ledger.claim(uuid4(), {MESSAGES: 7, HANDOFFS: 0})
        assert found == {MESSAGES: Position(7, 0), HANDOFFS: Position(0, 0)} == await inspect.positions()

    async def test_a_second_claim_takes_over_where_the_first_one_saved(self, ledger):
        worker = await start_worker(ledger)
        await ledger.save(worker.checkpoint({MESSAGES: 40, HANDOFFS: 2}, clock_ms=NOON_MS))
        taken_over = await start_worker(ledger)
        assert taken_over.positions == {
            MESSAGES: Position(40, NOON_MS),
            HANDOFFS: Position(2, NOON_MS),
            ALERTS: Position(0, NOON_MS),
        }

    async def test_a_claim_keeps_what_was_saved_even_if_the_log_begins_later_by_now(self, ledger):
        worker = await start_worker(ledger, MESSAGES)
        await ledger.save(worker.checkpoint(3))
        assert await ledger.claim(uuid4(), {MESSAGES: 1_000}) == {MESSAGES: Position(3, NOON_MS)}

    async def test_a_claim_made_again_after_a_lost_answer_finds_the_same(self, ledger):
        owner = uuid4()
        first = await ledger.claim(owner, {MESSAGES: 7, HANDOFFS: 9})
        assert await ledger.claim(owner, {MESSAGES: 7, HANDOFFS: 9}) == first

    async def test_a_claim_answers_for_the_partitions_it_names_and_no_others(self, ledger):
        await ledger.claim(uuid4(), {MESSAGES: 0, HANDOFFS: 0})
        other = SourcePartition(MESSAGES.topic, 1)
        assert set(await ledger.claim(uuid4(), {HANDOFFS: 0, other: 0})) == {HANDOFFS, other}

    async def test_a_claim_of_nothing_finds_nothing(self, ledger):
        assert await ledger.claim(uuid4(), {}) == {}

    async def test_a_clock_never_runs_backwards(self, ledger, inspect):
        worker = await start_worker(ledger, MESSAGES)
        await ledger.save(worker.checkpoint(clock_ms=NOON_MS))
        await ledger.save(worker.checkpoint(clock_ms=NOON_MS - 1))
        assert (await inspect.positions())[MESSAGES] == Position(2, NOON_MS)

    async def test_what_the_limit_on_dead_letters_has_counted_is_found_by_the_next_claim(self, ledger):
        worker = await start_worker(ledger, MESSAGES)
        for counts in (LimitCounts(5, 900, 40), LimitCounts(0, 20, 3)):
            await ledger.save(worker.checkpoint(10, counts=counts))
            found = await ledger.claim(worker.owner, {MESSAGES: 0})
            assert found[MESSAGES].counts == counts
        with pytest.raises(Fenced):
            await ledger.save(replace(worker.checkpoint(10, counts=LimitCounts(9, 9, 9)), owner=uuid4()))
        assert (await ledger.claim(worker.owner, {MESSAGES: 0}))[MESSAGES].counts == counts

    async def test_offsets_without_a_record_add_up(self, ledger, inspect):
        worker = await start_worker(ledger, MESSAGES)
        await ledger.save(worker.checkpoint(5, gap_count=2))
        await ledger.save(worker.checkpoint(9, gap_count=3))
        assert await inspect.gap_counts() == {MESSAGES: 5}


class FenceContract:
    """A checkpoint is saved if all its partitions are where and whose it says; else nothing of it is."""

    async def test_the_old_owner_is_fenced_and_writes_nothing(self, ledger, inspect):
        old = await saved_before(ledger)
        await start_worker(ledger)
        await assert_fenced(ledger, inspect, old.full_checkpoint(2))

    async def test_who_never_claimed_is_fenced_and_writes_nothing(self, ledger, inspect):
        stranger = Worker(uuid4(), {MESSAGES: Position(0, 0)})
        await assert_fenced(ledger, inspect, stranger.full_checkpoint())

    @pytest.mark.parametrize("wrong_by", [-1, 1])
    async def test_a_wrong_start_is_fenced_and_writes_nothing(self, ledger, inspect, wrong_by):
        worker = await saved_before(ledger)
        worker.positions[HANDOFFS] = Position(worker.positions[HANDOFFS].next_offset + wrong_by, 0)
        await assert_fenced(ledger, inspect, worker.full_checkpoint(2))

    async def test_one_lost_partition_of_many_blocks_all_of_a_worker(self, ledger, inspect):
        many = [SourcePartition(MESSAGES.topic, partition) for partition in range(8)]
        worker = await start_worker(ledger, *many)
        await ledger.save(worker.full_checkpoint())
        await start_worker(ledger, many[5])
        await assert_fenced(ledger, inspect, worker.full_checkpoint(2))

    async def test_a_worker_goes_on_without_the_partitions_it_gave_up(self, ledger, inspect):
        worker = await start_worker(ledger, MESSAGES, HANDOFFS)
        await start_worker(ledger, HANDOFFS)
        del worker.positions[HANDOFFS]
        await ledger.save(worker.checkpoint(4))
        assert await inspect.positions() == {MESSAGES: Position(4, NOON_MS), HANDOFFS: Position(0, 0)}

    async def test_a_checkpoint_saved_again_is_recognised_and_changes_nothing(self, ledger, inspect):
        worker = await start_worker(ledger)
        checkpoint = worker.full_checkpoint()
        await ledger.save(checkpoint)
        before = await inspect.everything()
        assert await ledger.save(checkpoint) == Counter()
        assert await inspect.everything() == before

    async def test_it_is_recognised_too_if_some_partitions_stood_still(self, ledger, inspect):
        worker = await start_worker(ledger)
        checkpoint = worker.checkpoint({ALERTS: 1}, records=[alert()], outcomes=counted("fact", 1))
        await ledger.save(checkpoint)
        before = await inspect.everything()
        assert await ledger.save(checkpoint) == Counter()
        assert await inspect.everything() == before

    async def test_the_checkpoint_after_a_recognised_one_goes_on(self, ledger, inspect):
        worker = await start_worker(ledger)
        checkpoint = worker.checkpoint(outcomes=counted("fact", 3))
        await ledger.save(checkpoint)
        await ledger.save(checkpoint)
        await ledger.save(worker.checkpoint(outcomes=counted("fact", 4)))
        assert await inspect.outcome_counts() == counted("fact", 7)

    async def test_an_older_checkpoint_than_the_last_is_fenced(self, ledger, inspect):
        worker = await start_worker(ledger)
        first, second = worker.full_checkpoint(1), worker.full_checkpoint(2)
        await ledger.save(first)
        await ledger.save(second)
        await assert_fenced(ledger, inspect, first)

    async def test_a_saved_checkpoint_is_fenced_once_another_worker_has_claimed(self, ledger, inspect):
        worker = await start_worker(ledger)
        checkpoint = worker.full_checkpoint()
        await ledger.save(checkpoint)
        await start_worker(ledger)
        await assert_fenced(ledger, inspect, checkpoint)

    async def test_a_claim_and_a_save_at_once_agree_on_where_the_partitions_stand(self, ledger, inspect):
        worker = await start_worker(ledger)
        saves = 0
        for round_number in range(1, 21):
            checkpoint = worker.checkpoint(outcomes=counted("fact", 1))
            saved, worker = await asyncio.gather(
                ledger.save(checkpoint), start_worker(ledger), return_exceptions=True
            )
            assert saved == Counter() or isinstance(saved, Fenced), f"round {round_number}: {saved!r}"
            saves += saved == Counter()
            assert {position.next_offset for position in worker.positions.values()} == {saves}
        assert (await inspect.outcome_counts()).get(OutcomeKey(MESSAGES, "fact", ""), 0) == saves


class RecordContract:
    """What becomes of a session record (billing-rules.md section 8)."""

    @pytest.fixture
    async def worker(self, ledger):
        return await start_worker(ledger)

    async def test_a_usage_record_is_read_back_as_it_was_written(self, ledger, inspect, worker):
        row = usage()
        assert await ledger.save(worker.checkpoint(records=[row])) == Counter(
            [RecordChange("usage", "open", False)]
        )
        record = await one_record(inspect)
        assert record[:6] == row[:6]
        assert (record.conversation_id, record.delivery_id) == (row.subject_id, None)
        assert record[8:16] == row[7:15]
        assert (record.status, record.revision, record.corrected_at) == ("open", 5, None)

    async def test_an_alert_record_is_read_back_without_the_fields_of_usage(self, ledger, inspect, worker):
        row = alert()
        assert await ledger.save(worker.checkpoint(records=[row])) == Counter(
            [RecordChange("alert", "final", False)]
        )
        record = await one_record(inspect)
        assert record[:6] == row[:6]
        assert (record.conversation_id, record.delivery_id) == (None, row.subject_id)
        assert record[8:16] == (None, None, NOON_MS, NOON_MS, None, None, None, None)
        assert (record.status, record.revision, record.corrected_at) == ("final", 1, None)

    async def test_an_open_record_is_no_change_that_consumers_hear_of(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(records=[usage(user_messages=4, revision=6)]))
        assert await inspect.changes() == []

    async def test_an_open_record_that_grows_takes_the_new_revision_and_is_no_correction(
        self, ledger, inspect, worker
    ):
        await ledger.save(worker.checkpoint(records=[usage()]))
        grown = usage(ended_ms=NOON_MS, user_messages=4, revision=6)
        assert await ledger.save(worker.checkpoint(records=[grown])) == Counter(
            [RecordChange("usage", "open", False)]
        )
        record = await one_record(inspect)
        assert (record.ended_ms, record.user_messages) == (NOON_MS, 4)
        assert (record.status, record.revision, record.corrected_at) == ("open", 6, None)

    async def test_a_difference_in_any_billed_field_is_a_new_revision(self, ledger, inspect, worker):
        differences = [
            {"user_id": "u-2"},
            {"channel": "voice"},
            {"started_ms": NOON_MS - 10 * MINUTE_MS + 1},
            {"ended_ms": NOON_MS - 4 * MINUTE_MS + 1},
            {"bot_ms": 5 * MINUTE_MS + 1},
            {"agent_ms": MINUTE_MS - 1},
            {"user_messages": 4},
            {"bot_messages": 3},
        ]
        rows = [usage(number, revision=6, **different) for number, different in enumerate(differences)]
        await ledger.save(worker.checkpoint(records=[usage(number) for number in range(len(rows))]))
        assert (await ledger.save(worker.checkpoint(records=rows))).total() == len(rows)
        for record, different in zip(await inspect.records(), differences, strict=True):
            assert record.revision == 6, different
            assert {name: getattr(record, name) for name in different} == different

    async def test_the_same_content_keeps_its_revision_however_many_facts_there_are(
        self, ledger, inspect, worker
    ):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        before = await inspect.records(), await inspect.changes()
        assert await ledger.save(worker.checkpoint(records=[usage(status="final", revision=6)])) == Counter()
        assert (await inspect.records(), await inspect.changes()) == before

    async def test_the_watermark_makes_final_at_the_same_revision_what_nobody_touches(
        self, ledger, inspect, worker
    ):
        await ledger.save(worker.checkpoint(records=[usage(1), usage(2)]))
        later = worker.checkpoint(0, settled=settled(NOON_MS + 1))
        assert await ledger.save(later) == Counter([RecordChange("usage", "final", False)] * 2)
        for record in await inspect.records():
            assert (record.status, record.revision, record.corrected_at) == ("final", 5, None)
        assert [change.record for change in await inspect.changes()] == await inspect.records()

    async def test_the_watermark_finds_what_another_worker_left_open(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        restarted = await start_worker(ledger)
        await ledger.save(restarted.checkpoint(0, settled=settled(NOON_MS + 1)))
        assert (await one_record(inspect)).status == "final"

    async def test_a_session_is_final_once_the_watermark_has_passed_its_settling(
        self, ledger, inspect, worker
    ):
        rows = [usage(number, settles_ms=NOON_MS + number - 2) for number in (1, 2, 3)]
        await ledger.save(worker.checkpoint(records=rows))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS)))
        assert [record.status for record in await inspect.records()] == ["final", "open", "open"]

    async def test_each_shard_has_its_own_watermark(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(1, shard=SHARD), usage(2, shard=SHARD + 1)]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1, SHARD)))
        assert [record.status for record in await inspect.records()] == ["final", "open"]
        both = settled(NOON_MS + 1, SHARD) + settled(NOON_MS + 1, SHARD + 1)
        await ledger.save(worker.checkpoint(settled=both))
        assert [record.status for record in await inspect.records()] == ["final", "final"]

    async def test_a_record_written_and_settled_at_once_is_published_once(self, ledger, inspect, worker):
        checkpoint = worker.checkpoint(records=[usage(1), usage(2)], settled=settled(NOON_MS + 1))
        await ledger.save(checkpoint)
        assert [change.record for change in await inspect.changes()] == await inspect.records()

    async def test_a_settling_that_moves_is_neither_a_revision_nor_a_change(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        before = await inspect.records()
        moved = usage(settles_ms=NOON_MS + 5 * MINUTE_MS, revision=6)
        assert await ledger.save(worker.checkpoint(records=[moved])) == Counter()
        assert (await inspect.records(), await inspect.changes()) == (before, [])

    async def test_a_settling_that_moved_away_is_waited_for(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(records=[usage(settles_ms=NOON_MS + MINUTE_MS, revision=6)]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert (await one_record(inspect)).status == "open"
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1)))
        record = await one_record(inspect)
        assert (record.status, record.revision) == ("final", 5)

    async def test_a_close_settles_a_record_at_the_same_revision(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        closed = usage(status="final", settles_ms=NOON_MS - MINUTE_MS, revision=6)
        assert await ledger.save(worker.checkpoint(records=[closed])) == Counter(
            [RecordChange("usage", "final", False)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision, record.corrected_at) == ("final", 5, None)
        assert [change.record for change in await inspect.changes()] == [record]

    async def test_a_final_record_never_becomes_open_again(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        unsettled = usage(settles_ms=NOON_MS + MINUTE_MS, revision=6)
        assert await ledger.save(worker.checkpoint(records=[unsettled])) == Counter()
        assert (await one_record(inspect)).status == "final"
        grown = usage(settles_ms=NOON_MS + MINUTE_MS, user_messages=9, revision=7)
        assert await ledger.save(worker.checkpoint(records=[grown])) == Counter(
            [RecordChange("usage", "final", True)]
        )
        assert (await one_record(inspect)).status == "final"

    async def test_a_final_record_that_changes_is_corrected_each_time(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        corrections = []
        for revision in (6, 7):
            await ledger.save(
                worker.checkpoint(records=[usage(status="final", user_messages=revision, revision=revision)])
            )
            record = await one_record(inspect)
            assert (record.status, record.revision) == ("final", revision)
            corrections.append(record.corrected_at)
        assert corrections[0] < corrections[1] <= datetime.now(UTC)
        told = [(change.record.revision, change.record.corrected_at) for change in await inspect.changes()]
        assert told == [(5, None), (6, corrections[0]), (7, corrections[1])]

    async def test_a_correction_keeps_its_time_when_only_the_settling_moves(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        corrected = usage(status="final", user_messages=9, revision=6)
        await ledger.save(worker.checkpoint(records=[corrected]))
        before = await inspect.records(), await inspect.changes()
        moved = corrected._replace(settles_ms=NOON_MS + MINUTE_MS, revision=7)
        assert await ledger.save(worker.checkpoint(records=[moved])) == Counter()
        assert (await inspect.records(), await inspect.changes()) == before

    async def test_a_record_brought_by_a_late_fact_is_a_correction_from_the_start(
        self, ledger, inspect, worker
    ):
        late = usage(status="final", late=True)
        assert await ledger.save(worker.checkpoint(records=[late])) == Counter(
            [RecordChange("usage", "final", True)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision) == ("final", 5)
        assert record.corrected_at is not None
        assert [change.record for change in await inspect.changes()] == [record]

    async def test_a_late_fact_that_leaves_its_record_open_is_no_correction(self, ledger, inspect, worker):
        late = usage(status="open", late=True)
        assert await ledger.save(worker.checkpoint(records=[late])) == Counter(
            [RecordChange("usage", "open", False)]
        )
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        assert (await one_record(inspect)).corrected_at is None

    async def test_a_late_fact_that_changes_an_open_record_is_no_correction(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        late = usage(status="final", late=True, user_messages=9, revision=6)
        assert await ledger.save(worker.checkpoint(records=[late])) == Counter(
            [RecordChange("usage", "final", False)]
        )
        assert (await one_record(inspect)).corrected_at is None

    async def test_an_open_record_that_vanishes_is_void_without_a_correction(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        assert await ledger.save(worker.checkpoint(voids=[void()])) == Counter(
            [RecordChange("usage", "void", False)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision, record.corrected_at) == ("void", 6, None)
        assert [change.record for change in await inspect.changes()] == [record]

    async def test_a_final_record_that_vanishes_is_void_as_a_correction(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        assert await ledger.save(worker.checkpoint(voids=[void()])) == Counter(
            [RecordChange("usage", "void", True)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision) == ("void", 6)
        assert record.corrected_at is not None
        assert [change.record.status for change in await inspect.changes()] == ["final", "void"]

    async def test_a_void_settles_no_more(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(voids=[void()]))
        assert await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1))) == Counter()
        assert (await one_record(inspect)).status == "void"

    async def test_voiding_what_is_void_or_was_never_there_does_nothing(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(voids=[void()]))
        before = await inspect.records(), await inspect.changes()
        assert await ledger.save(worker.checkpoint(voids=[void(1, revision=7), void(99)])) == Counter()
        assert (await inspect.records(), await inspect.changes()) == before

    async def test_a_void_that_was_final_comes_back_as_a_correction(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage(status="final")]))
        await ledger.save(worker.checkpoint(voids=[void()]))
        voided = await one_record(inspect)
        back = usage(revision=7)
        assert await ledger.save(worker.checkpoint(records=[back])) == Counter(
            [RecordChange("usage", "final", True)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision) == ("final", 7)
        assert record.corrected_at > voided.corrected_at
        statuses = [change.record.status for change in await inspect.changes()]
        assert statuses == ["final", "void", "final"]

    async def test_a_void_that_never_was_final_comes_back_open(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(voids=[void()]))
        back = usage(revision=7)
        assert await ledger.save(worker.checkpoint(records=[back])) == Counter(
            [RecordChange("usage", "open", False)]
        )
        record = await one_record(inspect)
        assert (record.status, record.revision, record.corrected_at) == ("open", 7, None)

    async def test_a_void_that_a_late_fact_brings_back_is_a_correction(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=[usage()]))
        await ledger.save(worker.checkpoint(voids=[void()]))
        back = usage(status="final", late=True, revision=7)
        assert await ledger.save(worker.checkpoint(records=[back])) == Counter(
            [RecordChange("usage", "final", True)]
        )
        assert (await one_record(inspect)).corrected_at is not None

    async def test_times_are_exact_to_the_millisecond_from_1970_to_2250(self, ledger, inspect, worker):
        times_ms = _times_ms(2_000)
        rows = [
            usage(number, session_started_ms=time_ms, started_ms=time_ms, ended_ms=time_ms + 1)
            for number, time_ms in enumerate(times_ms)
        ]
        await ledger.save(worker.checkpoint(records=rows))
        found = [(r.session_started_ms, r.started_ms, r.ended_ms) for r in await inspect.records()]
        assert found == [(time_ms, time_ms, time_ms + 1) for time_ms in times_ms]

    async def test_every_legal_character_survives(self, ledger, inspect, worker):
        characters = _legal_characters()
        texts = [characters[at : at + 200] for at in range(0, len(characters), 200)]
        rows = [usage(number, user_id=text) for number, text in enumerate(texts)]
        await ledger.save(worker.checkpoint(records=rows))
        assert [record.user_id for record in await inspect.records()] == texts

    async def test_the_longest_ids_fit_everywhere(self, ledger, inspect, worker):
        longest = _legal_characters()[-200:]
        ids = {"account_id": longest, "bot_id": longest, "user_id": longest, "channel": longest}
        report = reported(NOON_MS + 1, longest, longest)
        checkpoint = worker.checkpoint(
            conversations=[conversation(1, account_id=longest, bot_id=longest, conversation_id=longest)],
            chunks=[chunk(strings=f"{longest}|{longest}|{longest}\n")],
            records=[*session(2, 3, subject_id=longest, **ids), alert(2, subject_id=longest, **ids)],
            alert_reports=[report_row(2, report)],
        )
        await ledger.save(checkpoint)
        for record in await inspect.records():
            assert [record.account_id, record.bot_id, record.user_id, record.channel] == [longest] * 4
            assert longest in (record.conversation_id, record.delivery_id)
        assert (await ledger.look_up_alerts([id_of(2)]))[id_of(2)].further == (report,)


class SessionContract:
    """A session settles as a whole, at the time that its last record tells (billing-rules.md section 8)."""

    @pytest.fixture
    async def worker(self, ledger):
        return await start_worker(ledger)

    async def test_the_records_of_a_session_become_final_together(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session()))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS)))
        assert await statuses(inspect) == ["open"] * 3
        changes = await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        assert changes == Counter([RecordChange("usage", "final", False)] * 3)
        assert [(record.status, record.revision) for record in await inspect.records()] == [("final", 5)] * 3
        assert {change.record.session_id for change in await inspect.changes()} == {*map(id_of, (1, 2, 3))}

    async def test_one_read_and_settled_at_once_becomes_final_at_once(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session(), settled=settled(NOON_MS + 1)))
        assert await statuses(inspect) == ["final"] * 3
        assert len(await inspect.changes()) == 3

    async def test_its_settling_moves_for_all_with_its_last_record_alone(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session()))
        last = session(settles_ms=NOON_MS + MINUTE_MS, user_messages=4, revision=6)[-1]
        await ledger.save(worker.checkpoint(records=[last]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert await statuses(inspect) == ["open"] * 3
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1)))
        assert [(record.status, record.revision) for record in await inspect.records()] == [
            ("final", 5),
            ("final", 5),
            ("final", 6),
        ]

    async def test_a_new_last_record_takes_the_settling_over(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session(2)))
        grown = session(3, settles_ms=NOON_MS + MINUTE_MS, revision=6)[1:]
        assert await ledger.save(worker.checkpoint(records=grown)) == Counter(
            [RecordChange("usage", "open", False)]
        )
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert await statuses(inspect) == ["open"] * 3
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1)))
        assert await statuses(inspect) == ["final"] * 3

    async def test_what_is_last_once_the_last_record_vanished_takes_it_over(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session(3)))
        shrunk = session(2, settles_ms=NOON_MS - MINUTE_MS)[1:]
        await ledger.save(worker.checkpoint(records=shrunk, voids=[void(3)]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS)))
        assert await statuses(inspect) == ["final", "final", "void"]

    async def test_no_void_settles_those_that_it_left(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session(3)))
        moved = session(2, settles_ms=NOON_MS + MINUTE_MS)[1:]
        await ledger.save(worker.checkpoint(records=moved, voids=[void(3)]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert await statuses(inspect) == ["open", "open", "void"]

    async def test_the_sessions_of_a_conversation_settle_apart(self, ledger, inspect, worker):
        earlier = session(2, 1, subject_id="c", session_started_ms=NOON_MS - 90 * MINUTE_MS)
        later = session(2, 3, subject_id="c", settles_ms=NOON_MS + MINUTE_MS)
        await ledger.save(worker.checkpoint(records=earlier + later))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        assert await statuses(inspect) == ["final", "final", "open", "open"]
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1)))
        assert await statuses(inspect) == ["final"] * 4

    @pytest.mark.parametrize("name", ["account_id", "bot_id", "subject_id"])
    async def test_sessions_that_differ_in_one_name_settle_apart(self, ledger, inspect, worker, name):
        settling = session(2, 1, **{"subject_id": "c"} | {name: "one"})
        waiting = session(2, 3, settles_ms=NOON_MS + MINUTE_MS, **{"subject_id": "c"} | {name: "other"})
        await ledger.save(worker.checkpoint(records=settling + waiting))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        assert await statuses(inspect) == ["final", "final", "open", "open"]

    async def test_a_close_settles_all_of_it_at_the_same_revisions(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session()))
        closed = [row._replace(status="final", settles_ms=None, revision=6) for row in session()]
        assert await ledger.save(worker.checkpoint(records=closed)) == Counter(
            [RecordChange("usage", "final", False)] * 3
        )
        assert [record.revision for record in await inspect.records()] == [5] * 3
        assert await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1))) == Counter()

    async def test_what_a_late_fact_adds_to_a_final_session_is_waited_for(self, ledger, inspect, worker):
        first, _, last = session()
        final = [row._replace(status="final", settles_ms=None) for row in (first, last)]
        await ledger.save(worker.checkpoint(records=final))
        grown = session(3, settles_ms=NOON_MS + MINUTE_MS, late=True, revision=6)[1:]
        assert await ledger.save(worker.checkpoint(records=grown)) == Counter(
            [RecordChange("usage", "open", False)]
        )
        assert await statuses(inspect) == ["final", "open", "final"]
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert await statuses(inspect) == ["final", "open", "final"]
        assert await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1))) == Counter(
            [RecordChange("usage", "final", False)]
        )
        assert await statuses(inspect) == ["final"] * 3
        assert len(await inspect.changes()) == 3

    async def test_the_watermark_finds_a_session_that_another_worker_left_open(self, ledger, inspect, worker):
        await ledger.save(worker.checkpoint(records=session()))
        restarted = await start_worker(ledger)
        await ledger.save(restarted.checkpoint(0, settled=settled(NOON_MS + 1)))
        assert await statuses(inspect) == ["final"] * 3


class AlertContract:
    """An alert delivery is its first report; the others are kept to tell a repeat from a conflict."""

    @pytest.fixture
    async def worker(self, ledger):
        return await start_worker(ledger)

    async def test_a_delivery_never_seen_is_not_found(self, ledger):
        assert await ledger.look_up_alerts([id_of(1)]) == {}
        assert await ledger.look_up_alerts([]) == {}

    async def test_a_delivery_is_found_by_its_session_id(self, ledger, worker):
        first = reported(NOON_MS + 1, "ü", "sms")
        await ledger.save(worker.checkpoint(records=[alert(1, first), alert(2)]))
        assert await ledger.look_up_alerts([id_of(1), id_of(3)]) == {id_of(1): StoredAlert(first, 1, ())}

    async def test_an_earlier_report_replaces_the_first_as_a_correction(self, ledger, inspect, worker):
        first, earlier = reported(NOON_MS, "u-1"), reported(NOON_MS - 1, "u-2", "voice")
        await ledger.save(worker.checkpoint(records=[alert(1, first)]))
        replaced = worker.checkpoint(
            records=[alert(1, earlier, revision=2)], alert_reports=[report_row(1, first)]
        )
        assert await ledger.save(replaced) == Counter([RecordChange("alert", "final", True)])
        record = await one_record(inspect)
        assert (record.started_ms, record.ended_ms) == (NOON_MS - 1, NOON_MS - 1)
        assert (record.user_id, record.channel) == ("u-2", "voice")
        assert (record.status, record.revision) == ("final", 2)
        assert record.corrected_at is not None
        assert [change.record.revision for change in await inspect.changes()] == [1, 2]
        stored = (await ledger.look_up_alerts([id_of(1)]))[id_of(1)]
        assert stored == StoredAlert(earlier, 2, (first,))

    async def test_a_later_report_is_kept_and_changes_nothing_that_is_billed(self, ledger, inspect, worker):
        first = reported(NOON_MS)
        later = {reported(NOON_MS + minute * MINUTE_MS) for minute in (1, 2)}
        await ledger.save(worker.checkpoint(records=[alert(1, first)]))
        before = await inspect.records(), await inspect.changes()
        reports = worker.checkpoint(alert_reports=[report_row(1, report) for report in later])
        assert await ledger.save(reports) == Counter()
        assert (await inspect.records(), await inspect.changes()) == before
        stored = (await ledger.look_up_alerts([id_of(1)]))[id_of(1)]
        assert (stored.first, stored.revision, set(stored.further)) == (first, 1, later)

    async def test_a_report_saved_twice_is_kept_once(self, ledger, worker):
        report = reported(NOON_MS + 1)
        await ledger.save(worker.checkpoint(records=[alert()], alert_reports=[report_row(1, report)]))
        await ledger.save(worker.checkpoint(alert_reports=[report_row(1, report)]))
        assert (await ledger.look_up_alerts([id_of(1)]))[id_of(1)].further == (report,)

    async def test_the_time_of_a_report_is_exact(self, ledger, worker):
        times_ms = _times_ms(200)
        rows = [alert(number, reported(time_ms)) for number, time_ms in enumerate(times_ms)]
        await ledger.save(worker.checkpoint(records=rows))
        found = await ledger.look_up_alerts([row.session_id for row in rows])
        assert [found[row.session_id].first.reported_ms for row in rows] == times_ms


class ConversationContract:
    """The facts of a conversation, appended by checkpoint, in one piece once it has settled."""

    @pytest.fixture
    async def worker(self, ledger):
        return await start_worker(ledger)

    async def test_a_conversation_never_seen_is_not_found(self, ledger):
        assert await ledger.look_up_conversations([id_of(1)]) == {}
        assert await ledger.look_up_conversations([]) == {}

    async def test_a_conversation_is_found_by_its_key(self, ledger, worker):
        row = conversation(1, record_ids=id_of(1) + id_of(2))
        facts = chunk(1, row.revision, bytes(range(256)), "h|ü|\N{GRINNING FACE}\n")
        await ledger.save(worker.checkpoint(conversations=[row, conversation(2)], chunks=[facts, chunk(2)]))
        assert await ledger.look_up_conversations([id_of(1), id_of(3)]) == {
            id_of(1): StoredConversation(
                row.revision, row.settles_ms, row.record_ids, facts.facts, facts.strings
            )
        }

    async def test_a_conversation_is_found_as_it_was_last_saved(self, ledger, worker):
        await ledger.save(worker.checkpoint(conversations=[conversation()], chunks=[chunk(1, 5)]))
        grown = conversation(1, revision=6, settles_ms=NOON_MS + 1, record_ids=b"")
        await ledger.save(worker.checkpoint(conversations=[grown], chunks=[chunk(1, 6, b"more", "")]))
        stored = (await ledger.look_up_conversations([id_of(1)]))[id_of(1)]
        assert stored == StoredConversation(6, NOON_MS + 1, b"", b"factsmore", "|u-1|web\n")

    async def test_facts_are_appended_in_the_order_of_revisions(self, ledger, inspect, worker):
        await _append(ledger, worker, revisions=range(8, 13))
        assert await inspect.chunks(1) == [b"8.", b"9.", b"10.", b"11.", b"12."]
        stored = (await ledger.look_up_conversations([id_of(1)]))[id_of(1)]
        assert (stored.facts, stored.strings) == (b"8.9.10.11.12.", "8\n9\n10\n11\n12\n")

    async def test_the_chunks_of_a_settled_conversation_become_one_in_order(self, ledger, inspect, worker):
        await _append(ledger, worker, revisions=range(8, 13))
        before = await ledger.look_up_conversations([id_of(1)])
        await ledger.save(worker.checkpoint(0, settled=settled(NOON_MS)))
        assert len(await inspect.chunks(1)) == 5
        await ledger.save(worker.checkpoint(0, settled=settled(NOON_MS + 1)))
        assert await inspect.chunks(1) == [b"8.9.10.11.12."]
        assert await ledger.look_up_conversations([id_of(1)]) == before

    async def test_the_chunks_of_others_stay_as_they_are(self, ledger, inspect, worker):
        await _append(ledger, worker, revisions=range(8, 11), number=1)
        await _append(ledger, worker, revisions=range(8, 11), number=2, settles_ms=NOON_MS + 1)
        await _append(ledger, worker, revisions=range(8, 11), number=3, shard=SHARD + 1)
        await ledger.save(worker.checkpoint(0, settled=settled(NOON_MS + 1)))
        assert [len(await inspect.chunks(number)) for number in (1, 2, 3)] == [1, 3, 3]

    async def test_facts_after_the_settling_are_appended_and_joined_again(self, ledger, inspect, worker):
        await _append(ledger, worker, revisions=(1, 2))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        await _append(ledger, worker, revisions=(3,), settles_ms=NOON_MS + MINUTE_MS)
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS)))
        assert await inspect.chunks(1) == [b"1.2.", b"3."]
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + MINUTE_MS + 1)))
        assert await inspect.chunks(1) == [b"1.2.3."]

    async def test_facts_that_come_with_the_settling_are_in_the_one_chunk(self, ledger, inspect, worker):
        await _append(ledger, worker, revisions=(1, 2))
        last = chunk(1, 3, b"3.", "3\n")
        await ledger.save(
            worker.checkpoint(
                conversations=[conversation(1, revision=3)], chunks=[last], settled=settled(NOON_MS + 1)
            )
        )
        assert await inspect.chunks(1) == [b"1.2.3."]


def kept(number: int = 1, **different: Any) -> SealRow:
    """A seal of three of a conversation's five facts and of its first record, that keeps the rest."""
    row = SealRow(
        *(id_of(number), NOON_MS + MINUTE_MS, Seal(NOON_MS - MINUTE_MS, 3, NOON_MS - 9 * MINUTE_MS)),
        *(5, id_of(number), b"rest", "|u-1|web\n"),
    )
    return row._replace(**different)


def named(number: int = 1, shard: int = SHARD) -> NamedConversation:
    """What a conversation is called."""
    return NamedConversation(shard, id_of(number), "acme", "sales", f"c-{number}")


def sealable_at(time_ms: int, shard: int = SHARD) -> list[Horizon]:
    """Facts of a shard that are older than this may be sealed."""
    return [Horizon(shard, time_ms)]


DAY_MS = 1_440 * MINUTE_MS
DUE_MS = conversation().begun_ms + DAY_MS


class SealContract:
    """Sealing: facts go, what is left of them is known."""

    @pytest.fixture
    async def settler(self, ledger):
        """It has saved a conversation of two records and five facts in two chunks, which has settled."""
        worker = await start_worker(ledger)
        row = conversation(1, revision=3, record_ids=id_of(2))
        await ledger.save(worker.checkpoint(conversations=[row], chunks=[chunk(1, 3)]))
        row = conversation(1, revision=5, record_ids=id_of(2) + id_of(1))
        await ledger.save(worker.checkpoint(conversations=[row], chunks=[chunk(1, 5)]))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1)))
        return worker

    async def test_nothing_is_sealed_at_first(self, ledger, settler):
        assert await ledger.sealed_through_ms() == -1
        assert (await ledger.look_up_conversations([id_of(1)]))[id_of(1)].seal is None

    async def test_what_began_more_than_a_day_before_the_horizon_may_be_sealed(self, ledger, settler):
        assert await ledger.sealable(sealable_at(DUE_MS), 9) == []
        assert await ledger.sealable(sealable_at(DUE_MS + 1), 9) == [named()]
        assert await ledger.sealable(sealable_at(DUE_MS + 1), 0) == []
        assert await ledger.sealable(sealable_at(DUE_MS + 1, SHARD + 1), 9) == []
        assert await ledger.sealable([], 9) == []

    async def test_those_come_first_that_may_be_sealed_longest(self, ledger, settler):
        for number in (3, 2, 4):
            row = conversation(number, begun_ms=NOON_MS + number)
            await ledger.save(settler.checkpoint(conversations=[row], settled=settled(NOON_MS + 9)))
        found = await ledger.sealable(sealable_at(NOON_MS + 2 * DAY_MS), 3)
        assert found == [named(number) for number in (1, 2, 3)]

    async def test_a_conversation_that_goes_on_may_be_sealed_once_it_has_settled(self, ledger, settler):
        later = conversation(1, revision=6, settles_ms=NOON_MS + 9 * DAY_MS, begun_ms=NOON_MS - DAY_MS)
        await ledger.save(settler.checkpoint(conversations=[later], chunks=[chunk(1, 6)]))
        assert await ledger.sealable(sealable_at(DUE_MS + 1), 9) == []
        await ledger.save(settler.checkpoint(settled=settled(NOON_MS + 10 * DAY_MS)))
        assert await ledger.sealable(sealable_at(DUE_MS), 9) == []
        assert await ledger.sealable(sealable_at(DUE_MS + 1), 9) == [named()]

    async def test_one_sealed_as_a_whole_may_be_sealed_again_when_it_has_settled_again(self, ledger, settler):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept(due_ms=(1 << 63) - 1)])
        assert await ledger.sealable(sealable_at((1 << 63) - 1), 9) == []
        later = conversation(1, revision=6, settles_ms=NOON_MS + 9 * DAY_MS)
        await ledger.save(settler.checkpoint(conversations=[later], settled=settled(NOON_MS + 10 * DAY_MS)))
        assert await ledger.sealable(sealable_at(NOON_MS + 9 * DAY_MS), 9) == []
        assert await ledger.sealable(sealable_at(NOON_MS + 9 * DAY_MS + 1), 9) == [named()]

    async def test_what_is_kept_of_a_sealed_conversation_is_found_with_its_seal(
        self, ledger, inspect, settler
    ):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        assert await ledger.look_up_conversations([id_of(1)]) == {
            id_of(1): StoredConversation(5, NOON_MS, id_of(1), b"rest", "|u-1|web\n", kept().seal)
        }
        assert await inspect.chunks(1) == [b"rest"]
        assert await ledger.sealed_through_ms() == NOON_MS - MINUTE_MS

    async def test_of_one_that_is_sealed_as_a_whole_no_facts_stay(self, ledger, inspect, settler):
        whole = kept(record_ids=b"", facts=b"", strings="", seal=Seal(NOON_MS, 5, NOON_MS - MINUTE_MS))
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [whole])
        assert await ledger.look_up_conversations([id_of(1)]) == {
            id_of(1): StoredConversation(5, NOON_MS, b"", b"", "", whole.seal)
        }
        assert await inspect.chunks(1) == []

    async def test_sealing_again_whose_answer_was_lost_changes_nothing(self, ledger, inspect, settler):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        before = await inspect.everything()
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        assert await inspect.everything() == before

    async def test_the_newest_seal_counts(self, ledger, settler):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        second = kept(seal=Seal(NOON_MS, 4, NOON_MS - 9 * MINUTE_MS), facts=b"last")
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [second])
        stored = (await ledger.look_up_conversations([id_of(1)]))[id_of(1)]
        assert (stored.seal, stored.facts) == (second.seal, b"last")
        assert await ledger.sealed_through_ms() == NOON_MS

    async def test_what_was_looked_at_waits_until_it_is_due(self, ledger, settler):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [SealRow(id_of(1), NOON_MS + MINUTE_MS)])
        assert await ledger.sealable(sealable_at(NOON_MS + MINUTE_MS), 9) == []
        assert await ledger.sealable(sealable_at(NOON_MS + MINUTE_MS + 1), 9) == [named()]

    async def test_facts_that_come_after_the_seal_are_appended(self, ledger, inspect, settler):
        await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        more = conversation(1, revision=6, settles_ms=NOON_MS + 1)
        await ledger.save(settler.checkpoint(conversations=[more], chunks=[chunk(1, 6, b".more", "")]))
        stored = (await ledger.look_up_conversations([id_of(1)]))[id_of(1)]
        assert (stored.revision, stored.facts, stored.seal) == (6, b"rest.more", kept().seal)
        await ledger.save(settler.checkpoint(settled=settled(NOON_MS + 2)))
        assert await inspect.chunks(1) == [b"rest.more"]

    async def test_who_owns_a_partition_no_more_seals_nothing(self, ledger, inspect, settler):
        await start_worker(ledger, HANDOFFS)
        before = await inspect.everything()
        with pytest.raises(Fenced):
            await ledger.seal(settler.owner, [MESSAGES, HANDOFFS], [kept()])
        assert await inspect.everything() == before


class RecomputeContract:
    """Conversations that are to be billed anew."""

    @pytest.fixture
    async def holder(self, ledger):
        worker = await start_worker(ledger)
        await ledger.save(worker.checkpoint(conversations=[conversation(1), conversation(2)]))
        return worker

    async def test_nothing_is_requested_at_first(self, ledger, holder):
        assert await ledger.recompute_requests([SHARD], 9) == []
        assert await ledger.recompute_requests([], 9) == []

    async def test_what_is_requested_stands_until_a_checkpoint_has_done_it(self, ledger, inspect, holder):
        for number in (1, 2):
            await inspect.request_recompute(number)
        assert await ledger.recompute_requests([SHARD], 1) == [named(1)]
        assert await ledger.recompute_requests([SHARD + 1], 9) == []
        assert await ledger.recompute_requests([SHARD], 9) == [named(1), named(2)]
        await ledger.save(holder.checkpoint(recomputed=[named(1)]))
        assert await ledger.recompute_requests([SHARD], 9) == [named(2)]

    async def test_what_a_newer_algorithm_corrects_at_the_same_revision_is_told(
        self, ledger, inspect, holder
    ):
        await ledger.save(holder.checkpoint(records=[usage(status="final", settles_ms=None)]))
        other = usage(status="final", settles_ms=None, user_messages=4)
        await ledger.save(holder.checkpoint(records=[other], recomputed=[named(1)]))
        told = [change.record for change in await inspect.changes()]
        assert [(record.user_messages, record.revision) for record in told] == [(3, 5), (4, 5)]
        assert told[-1].corrected_at is not None

    async def test_a_fenced_checkpoint_leaves_the_requests(self, ledger, inspect, holder):
        await inspect.request_recompute(1)
        await start_worker(ledger)
        await assert_fenced(ledger, inspect, holder.checkpoint(recomputed=[named(1)]))


class CountContract:
    """Dead letters and outcome counts."""

    @pytest.fixture
    async def worker(self, ledger):
        return await start_worker(ledger)

    async def test_dead_letters_are_kept_as_they_were_read(self, ledger, inspect, worker):
        letters = [
            dead_letter(1, key=None, value=None, reason="empty_value", detail=""),
            dead_letter(2, key=b"", value=b""),
            dead_letter(3, key=b"a\x00|b", value=b"\x00\xff\xfe{\x00}\n"),
            dead_letter(4, value=bytes(range(256)) * 4_096, reason="too_large", detail="1048577 bytes"),
            dead_letter(5, field="data.user_id", detail="'\"\\ %s $1 {} \t"),
            dead_letter(6, recorded_ms=NOON_MS + 1),
            dead_letter(6, source=HANDOFFS),
        ]
        await ledger.save(worker.checkpoint(7, dead_letters=letters))
        assert await inspect.dead_letters() == sorted(letters)

    async def test_dead_letters_of_many_checkpoints_are_all_kept(self, ledger, inspect, worker):
        for offset in range(3):
            await ledger.save(worker.checkpoint(dead_letters=[dead_letter(offset)]))
        assert await inspect.dead_letters() == [dead_letter(offset) for offset in range(3)]

    async def test_outcome_counts_add_up(self, ledger, inspect, worker):
        facts, letters = counted("fact", 3), counted("dead_letter", 2, "not_json")
        await ledger.save(worker.checkpoint(5, outcomes=facts | letters))
        await ledger.save(worker.checkpoint(5, outcomes=facts | counted("fact", 1, source=HANDOFFS)))
        assert await inspect.outcome_counts() == (
            counted("fact", 6) | letters | counted("fact", 1, source=HANDOFFS)
        )

    async def test_outcome_counts_outgrow_32_bits(self, ledger, inspect, worker):
        for _ in range(2):
            await ledger.save(worker.checkpoint(outcomes=counted("fact", 2**31)))
        assert await inspect.outcome_counts() == counted("fact", 2**32)


class ChangesContract:
    """The changes are safe to poll: no gap, in the order of commits, whoever saves at the same time."""

    async def test_positions_count_from_one_without_a_gap(self, ledger, inspect):
        worker = await start_worker(ledger)
        await ledger.save(worker.checkpoint(records=[usage(1, status="final"), usage(2), alert(3)]))
        await ledger.save(worker.checkpoint(records=[usage(4, status="final")], voids=[void(2)]))
        await ledger.save(worker.checkpoint(records=[usage(5)]))
        changes = await inspect.changes()
        assert [change.position for change in changes] == [1, 2, 3, 4]
        assert {change.record.session_id for change in changes[:2]} == {id_of(1), id_of(3)}
        assert {change.record.session_id for change in changes[2:]} == {id_of(2), id_of(4)}

    async def test_a_fenced_checkpoint_leaves_no_gap(self, ledger, inspect):
        old = await start_worker(ledger)
        new = await start_worker(ledger)
        with pytest.raises(Fenced):
            await ledger.save(old.checkpoint(records=[usage(1, status="final")]))
        await ledger.save(new.checkpoint(records=[usage(2, status="final")]))
        assert [change.position for change in await inspect.changes()] == [1]

    async def test_a_reader_that_remembers_its_position_misses_nothing_of_concurrent_savers(
        self, ledger, inspect
    ):
        savers, checkpoints, each = 8, 20, 3
        read = asyncio.create_task(_poll(inspect, until=savers * checkpoints * each))
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for number in range(savers):
                group.create_task(_save_many(ledger, number, checkpoints, each))
        async with asyncio.timeout(10):
            seen = await read
        assert seen == await inspect.changes()
        assert [change.position for change in seen] == list(range(1, savers * checkpoints * each + 1))
        assert {change.record.status for change in seen} == {"final"}
        assert len({change.record.session_id for change in seen}) == len(seen)


class LedgerContract(
    ClaimContract,
    FenceContract,
    RecordContract,
    SessionContract,
    AlertContract,
    ConversationContract,
    SealContract,
    RecomputeContract,
    CountContract,
    ChangesContract,
):
    """All that a ledger does."""


async def _append(
    ledger: Ledger, worker: Worker, revisions: Sequence[int], number: int = 1, **different: Any
) -> None:
    """Save one chunk a checkpoint; its facts and strings spell its revision."""
    for revision in revisions:
        await ledger.save(
            worker.checkpoint(
                conversations=[conversation(number, revision=revision, **different)],
                chunks=[chunk(number, revision, f"{revision}.".encode(), f"{revision}\n")],
            )
        )


async def _poll(inspect: Inspect, until: int) -> list[Change]:
    """Read on from the last position seen; every answer must continue there without a gap."""
    seen: list[Change] = []
    while len(seen) < until:
        last = seen[-1].position if seen else 0
        answer = await inspect.changes(after=last)
        assert [change.position for change in answer] == list(range(last + 1, last + 1 + len(answer)))
        seen += answer
        await asyncio.sleep(0)
    return seen


async def _save_many(ledger: Ledger, number: int, checkpoints: int, each: int) -> None:
    """One worker's checkpoints, of final and open records of its own; each finalises the open ones before."""
    worker = await start_worker(ledger, SourcePartition(MESSAGES.topic, number))
    dice = random.Random(number)
    for at in range(checkpoints):
        first = (number * checkpoints + at) * each
        rows = [
            usage(first + place, status=dice.choice(("open", "final")), shard=number) for place in range(each)
        ]
        await ledger.save(worker.checkpoint(records=rows))
        await ledger.save(worker.checkpoint(settled=settled(NOON_MS + 1, number)))


def _times_ms(count: int) -> list[int]:
    dice = random.Random(7)
    edges = [datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 1999, 2038, 2106, 2200, 2250)]
    around = [int(edge.timestamp()) * 1_000 + step for edge in edges for step in (0, 1, 998, 999)]
    return around + [dice.randrange(around[-1]) for _ in range(count)]


def _legal_characters() -> str:
    """All that an id may hold: no control character (Cc), no surrogate, no `|`."""
    points = (range(0x20, 0x7F), range(0xA0, 0xD800), range(0xE000, 0x110000))
    return "".join(chr(point) for block in points for point in block).replace("|", "")
