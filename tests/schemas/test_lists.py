"""The lists of outcomes and reasons."""

import re

from schemas.outcomes import Outcome
from schemas.reasons import MAX_DETAIL_CHARACTERS, Reason, Rejected


def test_outcomes_are_those_of_the_rules_page() -> None:
    assert [str(outcome) for outcome in Outcome] == [
        "dead_letter",
        "test_traffic",
        "unbilled",
        "fact",
        "repeat",
        "conflict",
    ]


def test_a_reason_is_its_code_and_explains_itself() -> None:
    for reason in Reason:
        assert reason == reason.name.lower() == f"{reason}"
        assert Reason(reason.value) is reason
        assert re.fullmatch(r"[a-z_]+", reason)
        assert reason.meaning
        assert reason.what_to_do


def test_codes_that_were_published_stay() -> None:
    """Dead letters are kept under these codes: add to the list, never rename or remove."""
    published = {
        *("empty_value", "too_large", "not_unicode", "not_json", "not_cloudevents", "unknown_type"),
        *("wrong_topic", "missing_field", "wrong_type", "empty_field", "too_long", "forbidden_character"),
        *("unknown_value", "invalid_time", "time_ahead", "time_behind", "wrong_key", "wrong_partition"),
        "too_old",
    }
    assert published <= set(Reason)


def test_a_rejection_reads_as_a_line_and_its_detail_is_bounded() -> None:
    rejected = Rejected(Reason.TOO_LONG, "data.bot_id", "x" * 1000)
    assert len(rejected.detail) == MAX_DETAIL_CHARACTERS
    assert str(rejected) == f"too_long: data.bot_id: {rejected.detail}"
    assert str(Rejected(Reason.EMPTY_VALUE)) == "empty_value"
