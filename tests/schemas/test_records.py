"""The session record: one list of fields, one order."""

import random
from typing import get_type_hints

from schemas.records import FIELDS, SessionRecord, sort_key

USAGE_ONLY = {
    "conversation_id",
    "session_started_at",
    "block",
    "bot_ms",
    "agent_ms",
    "user_messages",
    "bot_messages",
}


def usage(account: str, bot: str, conversation: str, started_at: str, session_id: str = "s") -> SessionRecord:
    return SessionRecord(
        session_id=session_id,
        kind="usage",
        account_id=account,
        bot_id=bot,
        user_id="u",
        channel="web",
        conversation_id=conversation,
        session_started_at=started_at,
        block=1,
        started_at=started_at,
        ended_at=started_at,
        bot_ms=0,
        agent_ms=0,
        user_messages=1,
        bot_messages=0,
        status="final",
        revision=1,
        corrected_at=None,
        algorithm=1,
    )


def alert(account: str, bot: str, delivery: str, started_at: str) -> SessionRecord:
    return SessionRecord(
        session_id="s",
        kind="alert",
        account_id=account,
        bot_id=bot,
        user_id="u",
        channel="web",
        delivery_id=delivery,
        started_at=started_at,
        ended_at=started_at,
        status="final",
        revision=1,
        corrected_at=None,
        algorithm=1,
    )


def test_the_list_of_fields_is_the_record() -> None:
    assert [field.name for field in FIELDS] == list(get_type_hints(SessionRecord))


def test_each_kind_has_its_fields() -> None:
    early = "2026-10-03T09:00:00.000Z"
    for record in (usage("a", "b", "c", early), alert("a", "b", "d", early)):
        assert list(record) == [field.name for field in FIELDS if record["kind"] in field.kinds]
    assert {field.name for field in FIELDS if field.kinds == ("usage",)} == USAGE_ONLY
    assert {field.name for field in FIELDS if field.kinds == ("alert",)} == {"delivery_id"}


def test_units_are_those_of_the_names() -> None:
    for field in FIELDS:
        assert field.name.endswith("_ms") == (field.unit == "ms")
        assert field.name.endswith("_at") == field.unit.startswith("time")


def test_records_are_sorted_by_account_bot_kind_subject_start_and_id() -> None:
    early, late = "2026-10-03T09:00:00.000Z", "2026-10-03T10:00:00.000Z"
    in_order = [
        alert("a", "b", "d-1", late),
        alert("a", "b", "d-2", early),
        usage("a", "b", "c-1", late),
        usage("a", "b", "c-2", early, "s-1"),
        usage("a", "b", "c-2", early, "s-2"),
        usage("a", "b", "c-2", late, "s-0"),
        usage("a", "c", "c-0", early),
        usage("b", "a", "c-0", early),
        usage("\uffff", "a", "c-0", early),
        usage("\U0001f600", "a", "c-0", early),
    ]
    shuffled = random.Random(1).sample(in_order, len(in_order))
    assert sorted(shuffled, key=sort_key) == in_order
