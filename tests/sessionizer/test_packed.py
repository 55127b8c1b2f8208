"""Packed facts with sets of facts as the oracle: many conversations merged at once, small and large ones."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outcomes import Outcome
from sessionizer import packed
from sessionizer.facts import CLOSED, FACT_BYTES, FactSet, NewFact
from sessionizer.intake import fact_of
from sessionizer.packed import NewFacts, Origins, PackedFacts, ReadFacts, by_conversation, merge, pack
from tests.sessionizer import hostile
from tests.sessionizer.stories import timed

CONVERSATIONS = range(4)

new_facts = hostile.facts.map(lambda event: fact_of(*timed([event])[0]))
batches = st.lists(st.lists(st.tuples(st.sampled_from(CONVERSATIONS), new_facts), max_size=12), max_size=6)


@pytest.fixture(params=[0, 3, packed.LARGE_FACTS], ids=lambda most: f"large beyond {most}", autouse=True)
def large_facts(request, monkeypatch) -> None:
    """Small sets and large ones take different ways."""
    monkeypatch.setattr(packed, "LARGE_FACTS", request.param)


def examples(number: int):
    return settings(max_examples=number, deadline=None)


def line_of(fact: tuple[int, NewFact]) -> str:
    return "|".join(fact[1][3:])


def read_of(batch: Iterable[tuple[int, NewFact]]) -> ReadFacts:
    """The facts of a batch as a reader gives them; the keys of conversations are their numbers."""
    facts = list(batch)
    # A string that stands in a table twice is one string all the same, and the first origin has no facts.
    origins = Origins([b"9", *(b"%d" % place for place, _ in facts)], ["", *map(line_of, facts)])
    columns = [np.array([fact[part] for _, fact in facts], np.int64) for part in (0, 1)]
    identities = np.array([fact[2] for _, fact in facts], np.uint64)
    return ReadFacts(pack(*columns, identities, np.arange(1, len(facts) + 1)), origins)


def rows_of(batch: Iterable[tuple[int, NewFact]]) -> tuple[list[int], NewFacts]:
    """The conversations of a batch, and its facts as a checkpoint gathers them."""
    facts = list(batch)
    new = by_conversation([read_of(facts[::2]), read_of(facts[1::2])])
    return [int(key) for key in new.keys], new


def joined(chunks: list[tuple[bytes, str]]) -> tuple[bytes, str]:
    return b"".join(facts for facts, _ in chunks), "".join(strings for _, strings in chunks)


def all_win(known: FactSet) -> bool:
    """By definition: each fact is a winner."""
    return known.revision == len(list(known.winners()))


@examples(500)
@given(batches)
def test_batches_merged_give_the_sets_and_outcomes_of_their_facts_one_by_one(batches):
    held = [PackedFacts() for _ in CONVERSATIONS]
    known = [FactSet() for _ in CONVERSATIONS]
    for batch in batches:
        outcomes = [(place, fact, known[place].add(*fact)) for place, fact in batch]
        places, new = rows_of(batch)
        merged = merge([held[place] for place in places], new)
        assert merged.facts == sum(outcome is Outcome.FACT for _, _, outcome in outcomes)
        assert merged.conflicts == sum(outcome is Outcome.CONFLICT for _, _, outcome in outcomes)
        changed = {place for place, _, outcome in outcomes if outcome is not Outcome.REPEAT}
        assert sorted(places[at] for at in merged.changed) == sorted(changed)
        for facts, expected in zip(held, known, strict=True):
            assert facts.unpacked() == expected and facts.revision == expected.revision
            assert facts.all_win == all_win(expected)


@examples(300)
@given(batches, st.data())
def test_chunks_taken_on_the_way_load_as_the_same_set(batches, data):
    held, known, chunks = PackedFacts(), FactSet(), []
    for batch in batches:
        for _, fact in batch:
            known.add(*fact)
        places, new = rows_of((0, fact) for _, fact in batch)
        merge([held] * len(places), new)
        if data.draw(st.booleans()):
            chunks.append(held.take_chunk())
        if data.draw(st.booleans()):  # it leaves memory once all of it is saved, and comes back
            chunks.append(held.take_chunk())
            held = PackedFacts(*joined(chunks))
    chunks.append(held.take_chunk())
    stored, strings = joined(chunks)
    assert FactSet.load(stored, strings) == known
    assert len(stored) == known.revision * FACT_BYTES == held.revision * FACT_BYTES
    assert held.take_chunk() == (b"", "")
    assert PackedFacts(stored, strings).all_win == held.all_win == all_win(known)


@examples(200)
@given(batches)
def test_the_same_batches_again_are_repeats(batches):
    held = [PackedFacts() for _ in CONVERSATIONS]
    for again in (False, True):
        for batch in batches:
            places, new = rows_of(batch)
            added = merge([held[place] for place in places], new)
            assert not again or (added.facts, added.conflicts, len(added.changed)) == (0, 0, 0)
        if not again:
            saved = [facts.take_chunk() for facts in held]
    assert [facts.take_chunk() for facts in held] == [(b"", "")] * len(held) != saved or not any(batches)


def test_nothing_merged_is_nothing():
    assert merge([], NewFacts()).facts == 0
    assert by_conversation([]).keys == []


def test_a_fact_that_lies_across_two_others_is_not_known():
    """Seventeen bytes 0 and a 1 are found from the second byte of these on, where no fact begins."""
    known = [(0, CLOSED, 0, "", "v", "web"), (1 << 40, CLOSED, 1, "", "v", "web")]
    across = (0, CLOSED, 0, "", "u", "web")
    held, expected = PackedFacts(), FactSet()
    for batch in (known, [across], [across]):
        outcomes = [expected.add(*fact) for fact in batch]
        _, new = rows_of((0, fact) for fact in batch)
        assert merge([held], new)[:2] == (outcomes.count(Outcome.FACT), outcomes.count(Outcome.CONFLICT))
    assert held.unpacked() == expected and expected.revision == 3


def test_stored_facts_that_were_cut_short_are_refused():
    with pytest.raises(ValueError, match="17 bytes"):
        PackedFacts(b"0" * 17, "")
