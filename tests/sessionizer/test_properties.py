"""What holds for every conversation, however hostile: against the reference, and of the bill itself."""

from collections import Counter, defaultdict
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outcomes import Outcome
from sessionizer import reference
from sessionizer.alerts import Delivery
from sessionizer.batch import sessionize
from sessionizer.bill import Block, bill
from sessionizer.bills import bill_many
from sessionizer.facts import FACT_BYTES, FactSet
from sessionizer.intake import fact_of, report_of
from sessionizer.packed import PackedFacts
from sessionizer.rules import RuleBook, RuleSet
from tests.sessionizer import hostile
from tests.sessionizer.stories import facts, timed

EVERY_CONVERSATION = given(hostile.conversations, hostile.lengths)


def examples(number: int):
    return settings(max_examples=number, deadline=None)


def rules_of(lengths: dict) -> RuleSet:
    return RuleSet(effective_ms=0, **lengths)


def records_of(events: list[dict], lengths: dict) -> list[dict]:
    return sessionize(timed(events), RuleBook([rules_of(lengths)]))


def expected_of(events: list[dict], lengths: dict) -> list[dict]:
    row = {"effective_ms": 0, "account_id": None, "bot_id": None, **lengths}
    return reference.sessionize(events, [row])


def sessions_of(blocks: tuple[Block, ...]) -> list[list[Block]]:
    return [list(group) for _, group in groupby(blocks, lambda block: block.session_started_ms)]


@examples(2000)
@EVERY_CONVERSATION
def test_the_bill_is_the_reference_s(events, lengths):
    assert records_of(events, lengths) == expected_of(events, lengths)


@examples(400)
@given(hostile.traffic, hostile.rule_rows, st.randoms(use_true_random=False))
def test_traffic_with_rule_sets_that_change_gives_the_reference_s_records_in_any_order(events, rows, dice):
    rules = RuleBook([RuleSet(**row) for row in rows])
    expected = reference.sessionize(events, rows)
    assert sessionize(timed(events), rules) == expected
    dice.shuffle(events)
    assert sessionize(timed(events), rules) == expected


@examples(300)
@given(hostile.conversations, hostile.lengths, st.data())
def test_any_permutation_with_any_repetition_gives_the_same_records(events, lengths, data):
    again = data.draw(st.lists(st.sampled_from(events)))
    shuffled = data.draw(st.permutations(events + again))
    assert records_of(shuffled, lengths) == records_of(events, lengths)


@examples(300)
@given(hostile.conversations, hostile.lengths, st.data())
def test_any_split_into_batches_merged_in_any_order_gives_the_same_set_and_bill(events, lengths, data):
    batches: list[list[dict]] = [[], [], [], []]
    for event in events + data.draw(st.lists(st.sampled_from(events), max_size=5)):
        batches[data.draw(st.integers(0, 3))].append(event)
    sets = [facts(batch) for batch in data.draw(st.permutations(batches))]
    while len(sets) > 1:
        into = data.draw(st.integers(0, len(sets) - 2))
        sets[into].merge(sets.pop())
    assert sets[0] == facts(events)
    assert bill(sets[0], rules_of(lengths)) == bill(facts(events), rules_of(lengths))


def merged(*parts: list[dict]) -> FactSet:
    whole = FactSet()
    for part in parts:
        whole.merge(facts(part))
    return whole


@examples(200)
@given(hostile.conversations, hostile.conversations, hostile.conversations)
def test_merge_is_commutative_associative_and_idempotent(one, two, three):
    assert merged(one, two) == merged(two, one)
    left = merged(one, two)
    left.merge(facts(three))
    right = facts(one)
    right.merge(merged(two, three))
    assert left == right
    before = left.revision
    left.merge(right)
    left.merge(left)
    assert left == right and left.revision == before


@examples(300)
@EVERY_CONVERSATION
def test_blocks_tile_the_bot_time_of_their_session_without_overlap(events, lengths):
    for session in sessions_of(bill(facts(events), rules_of(lengths)).blocks):
        assert [block.block for block in session] == sorted({block.block for block in session})
        assert session[0].block == 1 and session[0].started_ms == session[0].session_started_ms
        assert all(block.bot_ms == lengths["block_ms"] for block in session[:-1])
        assert 0 <= session[-1].bot_ms <= lengths["block_ms"]
        assert session[-1].bot_ms > 0 or len(session) == 1
        for earlier, later in zip(session, session[1:], strict=False):
            assert earlier.ended_ms <= later.started_ms


@examples(300)
@EVERY_CONVERSATION
def test_bot_time_and_agent_time_are_the_wall_length_and_neither_is_negative(events, lengths):
    for block in bill(facts(events), rules_of(lengths)).blocks:
        assert block.bot_ms + block.agent_ms == block.ended_ms - block.started_ms
        assert block.bot_ms >= 0 and block.agent_ms >= 0


@examples(300)
@given(hostile.conversations)
def test_the_revision_grows_by_each_fact_and_never_falls(events):
    known = FactSet()
    contents = set()
    for event, time_ms in timed(events):
        new = fact_of(event, time_ms)
        before = known.revision
        outcome = known.add(*new)
        assert (outcome is Outcome.REPEAT) == (new in contents)
        assert known.revision == before + (new not in contents)
        contents.add(new)
    assert known.revision == len(contents)


def counted(events: list[dict]) -> Counter[str]:
    """Count outcomes as a worker does."""
    counts: Counter[str] = Counter()
    known = FactSet()
    deliveries: dict[str, Delivery] = defaultdict(Delivery)
    for event, time_ms in timed(events):
        if event["data"]["developer"]:
            counts[Outcome.TEST_TRAFFIC] += 1
        elif "delivery_id" in event["data"]:
            report = report_of(event, time_ms)
            delivery = deliveries[event["data"]["delivery_id"]]
            counts[delivery.add(report) if report else Outcome.UNBILLED] += 1
        else:
            fact = fact_of(event, time_ms)
            counts[known.add(*fact) if fact else Outcome.UNBILLED] += 1
    return counts


@examples(300)
@given(hostile.traffic, st.randoms(use_true_random=False))
def test_outcomes_are_counted_alike_in_every_order(events, random):
    twice = random.sample(events + events, 2 * len(events))
    assert counted(twice) == reference.outcomes(twice)
    assert sum(counted(twice).values()) == 2 * len(events)


@examples(300)
@given(hostile.conversations, st.data())
def test_chunks_taken_on_the_way_load_as_the_same_set(events, data):
    known, chunks = FactSet(), []
    for event, time_ms in timed(events):
        known.add(*fact_of(event, time_ms))
        if data.draw(st.booleans()):
            chunks.append(known.take_chunk())
    chunks.append(known.take_chunk())
    stored = b"".join(chunk for chunk, _ in chunks)
    loaded = FactSet.load(stored, "".join(strings for _, strings in chunks))
    assert loaded == known
    assert loaded.revision == known.revision == len(stored) / FACT_BYTES
    assert loaded.take_chunk() == known.take_chunk() == (b"", "")


@examples(200)
@given(hostile.conversations, hostile.conversations)
def test_what_a_merge_brings_is_in_the_next_chunk(stored_events, new_events):
    known = facts(stored_events)
    first = known.take_chunk()
    known.merge(facts(new_events))
    second = known.take_chunk()
    assert FactSet.load(first[0] + second[0], first[1] + second[1]) == facts(stored_events + new_events)


def without_copies(events: list[dict]) -> list[dict]:
    """Those of them that leave a conversation without copies in conflict: of each identity one."""
    first = {(event["source"], event["id"]): event for event in reversed(events)}
    return list(first.values())


@examples(3000)
@given(st.lists(hostile.conversations.map(without_copies), min_size=1, max_size=4), st.data())
def test_conversations_billed_together_are_billed_as_each_alone(conversations, data):
    sets = [known for events in conversations if (known := facts(events)).revision]
    packed = [PackedFacts(*known.take_chunk()) for known in sets]
    rules = [rules_of(data.draw(hostile.lengths)) for _ in sets]
    asked = []

    def rules_for(place: int, earliest_ms: int) -> RuleSet:
        asked.append((place, earliest_ms))
        return rules[place]

    if sets:
        blocks, counts, settles_ms, _ = bill_many(packed, rules_for)
        expected = [bill(known, its_rules) for known, its_rules in zip(sets, rules, strict=True)]
        assert counts == [len(one.blocks) for one in expected]
        assert blocks == [block for one in expected for block in one.blocks]
        assert settles_ms == [one.settles_ms for one in expected]
        assert asked == [(place, known.earliest_ms) for place, known in enumerate(sets)]
