"""Taking Kafka's logs over as they are: all of it or nothing, in no way of a worker that goes on."""

from __future__ import annotations

from uuid import UUID

import pytest

from sinks.dead_letters import Hand, LetterId, State, open_dead_letters
from sinks.ledger import Fenced, OutcomeKey, Position, Refused, SourcePartition, SourceTopic
from sinks.taking_over import PassOver, ReadAnew, TakeOver, take_over
from tests.sinks.builders import MESSAGES, dead_letter, start_worker

TOPIC = MESSAGES.topic
ASIDE = f"{TOPIC}@{UUID(int=1)}"
NEW = UUID(int=2)
FACTS = OutcomeKey(MESSAGES, "fact", "")


@pytest.fixture
async def worker(ledger):
    """One that has saved three facts and a dead letter."""
    await ledger.remember_topics({TOPIC: SourceTopic(1, UUID(int=1))})
    started = await start_worker(ledger)
    await ledger.save(started.checkpoint(4, outcomes={FACTS: 3}, dead_letters=[dead_letter(0)]))
    return started


async def test_what_is_gone_counts_as_a_gap_and_the_worker_there_is_fenced(ledger, inspect, database, worker):
    before = (await inspect.positions())[MESSAGES]
    offset = before.next_offset
    await take_over(database, TakeOver(_seen(worker), [PassOver(MESSAGES, offset + 6)], []))
    assert (await inspect.positions())[MESSAGES] == Position(offset + 6, before.clock_ms)
    assert (await inspect.gap_counts())[MESSAGES] == 6
    with pytest.raises(Fenced):  # and not taken for one that was saved, though it ends at the same offset
        await ledger.save(worker.checkpoint({MESSAGES: 6}))


async def test_what_was_read_of_the_old_topic_is_kept_under_another_name(ledger, inspect, database, worker):
    clock_ms = (await inspect.positions())[MESSAGES].clock_ms
    letters = await inspect.dead_letters()
    await take_over(database, _anew(worker))
    aside = SourcePartition(ASIDE, MESSAGES.partition)
    positions = await inspect.positions()
    assert (positions[aside], positions[MESSAGES]) == (worker.positions[MESSAGES], Position(5, clock_ms))
    assert await inspect.outcome_counts() == {FACTS._replace(source=aside): 3}
    assert await inspect.dead_letters() == [letter._replace(source=aside) for letter in letters]
    assert (await ledger.known_topics([TOPIC]))[TOPIC] == SourceTopic(1, NEW)
    with pytest.raises(Fenced):
        await ledger.save(worker.checkpoint(1))


async def test_the_new_topic_may_have_a_dead_letter_at_an_offset_of_the_old(
    ledger, inspect, database, worker
):
    await take_over(database, _anew(worker))
    again = await start_worker(ledger)
    await ledger.save(again.checkpoint(4, dead_letters=[dead_letter(0)]))
    assert [letter.offset for letter in await inspect.dead_letters()] == [0, 0]


async def test_acts_stay_with_the_dead_letters_of_the_old_topic(ledger, inspect, database, worker):
    old, root = LetterId(*MESSAGES, 0), f"{TOPIC}/0/0"
    await ledger.save(worker.checkpoint(2, dead_letters=[dead_letter(4, replay_of=root)]))
    async with open_dead_letters(database) as letters:
        await letters.sent({old: LetterId(*MESSAGES, 4)}, Hand("ada", "a test"))
        await letters.accept({MESSAGES: 6}, Hand("ada", "a test"))
        before = await letters.letters([old])
        await take_over(database, _anew(worker))
        again = await start_worker(ledger)
        await ledger.save(again.checkpoint(4, dead_letters=[dead_letter(0)]))
        assert again.positions[MESSAGES].accepted_offset == 0
        first, then, new = [
            (letter.id, letter.state, letter.replay_of, letter.again)
            for letter in await letters.letters([LetterId(ASIDE, 0, 0), LetterId(ASIDE, 0, 4), old])
        ]
    assert (before[0].state, before[0].again) == (State.REPLAYED, f"{TOPIC}/0/4")
    assert first == (LetterId(ASIDE, 0, 0), State.REPLAYED, None, f"{ASIDE}/0/4")
    assert then == (LetterId(ASIDE, 0, 4), State.OPEN, f"{ASIDE}/0/0", None)
    assert new == (old, State.OPEN, None, None)


async def test_a_ledger_that_has_moved_meanwhile_is_left_as_it_is(ledger, inspect, database, worker):
    plan = _anew(worker)
    await ledger.save(worker.checkpoint(1))
    before = await inspect.everything()
    with pytest.raises(Refused, match="the ledger has moved meanwhile, so nothing was changed"):
        await take_over(database, plan)
    assert await inspect.everything() == before


async def test_a_name_that_is_taken_changes_nothing(inspect, database, worker):
    plan = _anew(worker)
    await take_over(database, plan)
    before = await inspect.everything()
    with pytest.raises(Refused, match="duplicate key"):
        await take_over(database, TakeOver({MESSAGES: 5}, [], plan.anew))
    assert await inspect.everything() == before


async def test_a_workers_login_may_not_take_over(database, new_login, worker):
    login = await new_login(database, "in role quarterhour_worker")
    with pytest.raises(Refused, match="permission denied"):
        await take_over(login, _anew(worker))


def _seen(worker):
    return {source: place.next_offset for source, place in worker.positions.items() if source.topic == TOPIC}


def _anew(worker) -> TakeOver:
    starts = {source.partition: 5 for source in _seen(worker)}
    return TakeOver(_seen(worker), [], [ReadAnew(TOPIC, NEW, starts, ASIDE)])
