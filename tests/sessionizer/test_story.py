"""The story of a conversation agrees with its bill, for every conversation, however hostile."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sessionizer.bill import bill
from sessionizer.facts import FACT_BYTES, FactSet
from sessionizer.packed import PackedFacts
from sessionizer.rules import DEFAULT_RULES
from sessionizer.story import Effect, SpanEnd, Story, block_then, causes, causes_since, tell
from tests.sessionizer import hostile
from tests.sessionizer.stories import MINUTE, START, agent, at, bot, closed, ended, facts, started, user
from tests.sessionizer.test_properties import EVERY_CONVERSATION, examples, rules_of

USER_KIND, BOT_KIND = 2, 1


def packed(events: list[dict]) -> PackedFacts:
    return PackedFacts(*facts(events).take_chunk())


def told(*parts: list[dict]) -> Story:
    return tell(packed(sum(parts, [])), lambda _: DEFAULT_RULES)


def effects(story: Story) -> list[Effect]:
    return [fact.effect for fact in story.facts]


@examples(1000)
@EVERY_CONVERSATION
def test_the_messages_told_as_part_of_a_block_are_those_that_it_counts(events, lengths):
    rules = rules_of(lengths)
    story = tell(packed(events), lambda _: rules)
    blocks = bill(facts(events), rules).blocks
    assert tuple(block for session in story.sessions for block in session.blocks) == blocks
    counts = Counter(
        (fact.session, fact.block, fact.kind)
        for fact in story.facts
        if fact.effect in (Effect.OPENS, Effect.BELONGS)
    )
    for number, session in enumerate(story.sessions, 1):
        for block in session.blocks:
            assert counts.pop((number, block.block, USER_KIND), 0) == block.user_messages
            assert counts.pop((number, block.block, BOT_KIND), 0) == block.bot_messages
    assert not counts


@examples(300)
@EVERY_CONVERSATION
def test_every_fact_is_told_once_in_the_order_of_time_and_by_its_number(events, lengths):
    story = tell(packed(events), lambda _: rules_of(lengths))
    assert sorted(fact.number for fact in story.facts) == list(range(1, facts(events).revision + 1))
    assert [fact.time_ms for fact in story.facts] == sorted(fact.time_ms for fact in story.facts)
    arrived = [fact[1:7] for fact in sorted(story.facts)]
    known = FactSet()
    for fact in arrived:
        known.add(*fact)
    assert known == facts(events)
    assert effects(story).count(Effect.OPENS) == len(story.sessions)
    closes = [session.session.closed_ms for session in story.sessions]
    assert effects(story).count(Effect.CLOSES) == sum(close is not None for close in closes)


@examples(200)
@given(hostile.conversations, hostile.lengths, st.data())
def test_without_the_facts_that_caused_a_change_there_is_none(events, lengths, data):
    rules = rules_of(lengths)
    whole = packed(events)
    blocks = {(it.session_started_ms, it.block): it for it in bill(whole.unpacked(), rules).blocks}
    if not blocks:
        return
    name = data.draw(st.sampled_from(sorted(blocks)))
    until = whole.revision
    found = causes(whole, lambda _: rules, name, 0, until)
    assert found
    last = found[-1]
    for count in (last - 1, last, until):
        part = FactSet.load(whole.facts[: count * FACT_BYTES], whole.strings)
        then = {(it.session_started_ms, it.block): it for it in bill(part, rules).blocks} if count else {}
        same = name in then and then[name]._replace(settles_ms=0) == blocks[name]._replace(settles_ms=0)
        assert same == (count >= last)


@examples(100)
@given(hostile.conversations, hostile.lengths, st.data())
def test_causes_are_found_from_what_was_before(events, lengths, data):
    rules = rules_of(lengths)
    whole = packed(events)
    blocks = bill(whole.unpacked(), rules).blocks
    if not blocks:
        return
    block = data.draw(st.sampled_from(blocks))
    name, until = (block.session_started_ms, block.block), whole.revision
    by_count = [block_then(whole, lambda _: rules, name, count) for count in range(until)]
    before = data.draw(st.sampled_from(by_count))
    since = until - 1 - by_count[::-1].index(before)
    found = causes_since(whole, lambda _: rules, name, until, lambda then: then == before)
    assert found == causes(whole, lambda _: rules, name, since, until)
    assert causes_since(whole, lambda _: rules, name, until, lambda _: False) is None


def test_a_search_for_causes_that_would_take_long_is_not_begun():
    whole = packed(user(*range(600)))
    assert causes(whole, lambda _: DEFAULT_RULES, (START, 1), 0, 600) is None
    assert causes_since(whole, lambda _: DEFAULT_RULES, (START, 1), 600, lambda then: then is None) is None
    assert causes(whole, lambda _: DEFAULT_RULES, (START, 40), 590, 600) == list(range(591, 601))


def test_effects_of_handoffs():
    story = told(
        started(1), started(2), ended(3), ended(4), started(5, handoff_id="h-2"), closed(6), user(0, 2.5, 7)
    )
    assert effects(story) == [
        *(Effect.OPENS, Effect.TAKES_OVER, Effect.NO_EFFECT, Effect.WITH_HUMAN, Effect.HANDS_BACK),
        *(Effect.NO_EFFECT, Effect.TAKES_OVER, Effect.CLOSES, Effect.OPENS),
    ]
    assert [(span.handoff_id, span.end) for span in story.spans] == [
        ("h-1", SpanEnd.ENDED),
        ("h-2", SpanEnd.CLOSED),
    ]
    assert told(started(0)).spans == [("h-1", at(0), at(24 * 60), SpanEnd.RAN_OUT)]


def test_effects_without_a_session():
    assert effects(told(bot(0), closed(1))) == [Effect.UNANSWERED, Effect.CLOSES_NOTHING]
    story = told(bot(0, id="e-1"), bot(1, id="e-1"))
    assert effects(story) == [Effect.UNANSWERED, Effect.LOSES]


def test_bot_time_is_told_since_the_session_began():
    story = told(user(0), agent(2, 60), user(61))
    assert [fact.bot_ms for fact in story.facts] == [0, 2 * MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert story.agent_times == [(at(2), at(60))]
