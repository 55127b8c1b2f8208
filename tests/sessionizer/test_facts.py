"""Facts: which copy wins, which outcome each has, and the packed form, which is stored for years."""

from itertools import permutations

import pytest

from schemas.outcomes import Outcome
from sessionizer.facts import (
    BOT_MESSAGE,
    CLOSED,
    HANDOFF_ENDED,
    HANDOFF_STARTED,
    TIME_SHIFT,
    USER_MESSAGE,
    FactSet,
    identity_of,
)
from sessionizer.intake import fact_of, report_of
from tests.sessionizer.stories import alert, bot, closed, ended, event, started, timed, user

IDENTITY = identity_of("/runtime/eu-1", "e-1")

# Each of these loses to the one before it.
COPIES = [
    (1, HANDOFF_STARTED, IDENTITY, "z", "z", "z"),
    (2, CLOSED, IDENTITY, "", "z", "z"),
    (2, BOT_MESSAGE, IDENTITY, "", "z", "z"),
    (2, USER_MESSAGE, IDENTITY, "", "z", "z"),
    (2, HANDOFF_ENDED, IDENTITY, "h", "z", "z"),
    (2, HANDOFF_ENDED, IDENTITY, "h!", "a", "a"),
    (2, HANDOFF_STARTED, IDENTITY, "h", "u", "z"),
    (2, HANDOFF_STARTED, IDENTITY, "h", "u!", "a"),
    (2, HANDOFF_STARTED, IDENTITY, "h", "u!", "b"),
    (2, HANDOFF_STARTED, IDENTITY, "h", "é", "a"),
    (2, HANDOFF_STARTED, IDENTITY, "i", "a", "a"),
    (3, CLOSED, IDENTITY, "", "a", "a"),
]


def only_winner(known: FactSet) -> tuple[int, str]:
    (fact,) = known.winners()
    return fact >> TIME_SHIFT, known.lines()[fact & 0xFFFFFF]


@pytest.mark.parametrize("place", range(len(COPIES) - 1))
def test_of_two_copies_the_one_with_the_smaller_content_wins_in_both_orders(place):
    winner, loser = COPIES[place : place + 2]
    for first, second in ((winner, loser), (loser, winner)):
        known = FactSet()
        assert [known.add(*first), known.add(*second)] == [Outcome.FACT, Outcome.CONFLICT]
        (fact,) = known.winners()
        assert fact >> 88 == winner[0] << 8 | winner[1]
        assert only_winner(known) == (winner[0], "|".join(winner[3:]))


def test_copies_in_conflict_are_counted_once_each_whatever_the_order():
    for order in permutations(COPIES[:4]):
        known = FactSet()
        outcomes = [known.add(*copy) for copy in (*order, *order)]
        assert outcomes == [Outcome.FACT] + 3 * [Outcome.CONFLICT] + 4 * [Outcome.REPEAT]
        assert known.revision == 4 and len(known.winners()) == 1


def test_kinds_are_in_the_code_point_order_of_type_and_author():
    events = closed(0) + bot(0) + user(0) + ended(0) + started(0)
    names = [(event["type"], event["data"].get("author", "")) for event in events]
    assert names == sorted(names)
    assert [fact_of(*pair)[1] for pair in timed(events)] == [0, 1, 2, 3, 4]


def test_the_stored_form_of_a_fact_never_changes():
    known = FactSet()
    known.add(1_791_018_000_000, HANDOFF_STARTED, IDENTITY, "h-1", "u-1", "web")
    known.add(-1, USER_MESSAGE, 1, "", "u-1", "wéb")
    facts, strings = known.take_chunk()
    assert facts.hex(" ", 18) == ("01a100fdde80045bf7f2c59e3b698d000000 ffffffffffff020000000000000001000001")
    assert strings == "h-1|u-1|web\n|u-1|wéb\n"


def test_an_identity_is_the_blake2b_of_source_and_id():
    # As `printf '%s' '/runtime/eu-1|e-1' | b2sum -l 64` has it.
    assert IDENTITY == 0x5BF7F2C59E3B698D


def test_every_bit_of_an_identity_counts():
    known = FactSet()
    identities = [0, *(1 << bit for bit in range(64)), (1 << 64) - 1]
    for identity in identities:
        assert known.add(0, USER_MESSAGE, identity, "", "u", "web") is Outcome.FACT
    assert FactSet.load(*known.take_chunk()).revision == known.revision == len(identities)


def test_stored_facts_that_were_cut_short_are_refused():
    with pytest.raises(ValueError, match="17 bytes"):
        FactSet.load(b"0" * 17, "")


def test_sets_are_equal_by_content_however_their_tables_are_ordered():
    one, two = FactSet(), FactSet()
    one.add(1, USER_MESSAGE, 1, "", "a", "web")
    one.add(1, USER_MESSAGE, 2, "", "b", "web")
    two.add(1, USER_MESSAGE, 2, "", "b", "web")
    assert one != two
    two.add(1, USER_MESSAGE, 1, "", "a", "web")
    assert one == two and one.lines() != two.lines()
    two.add(1, USER_MESSAGE, 2, "", "c", "web")
    assert one != two


def test_the_earliest_fact_may_be_of_any_kind_and_is_never_a_losing_copy():
    known = FactSet()
    known.add(5, USER_MESSAGE, 1, "", "u", "web")
    known.add(7, CLOSED, 2, "", "u", "web")
    known.add(3, CLOSED, 2, "", "u", "web")
    assert known.earliest_ms == 3


def test_an_agent_s_message_is_no_fact_and_a_failed_alert_no_report():
    message = event("conversation.message.v1", 0, author="agent")
    failed = event("alert.failed.v1", 0, delivery_id="d-1", alert_id="a-1")
    assert fact_of(message, 0) is None and report_of(failed, 0) is None
    assert report_of(*timed(alert(0, "d-1"))[0]) is not None


def test_fields_that_a_type_does_not_have_are_ignored():
    (handoff,) = started(0)
    (message,) = user(0)
    handoff["data"]["author"] = "agent"
    message["data"]["handoff_id"] = "h-1"
    assert fact_of(handoff, 0)[1] == HANDOFF_STARTED
    assert fact_of(message, 0)[3] == ""
