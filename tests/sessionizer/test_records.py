"""Records of the batch form: whose user they bear, their ids and their order; and alert sessions."""

import random

import pytest

from schemas.outcomes import Outcome
from sessionizer import reference
from sessionizer.alerts import Delivery, Report
from sessionizer.batch import sessionize
from sessionizer.ids import usage_session_id, usage_session_ids
from sessionizer.rules import RuleBook
from tests.sessionizer.stories import alert, bot, event, timed, user

# Ids in this file were worked out with sha1sum by RFC 9562, section 5.5, not by the code.


def both(events: list[dict]) -> list[dict]:
    """The records of the product, which the reference gives too."""
    records = sessionize(timed(events), RuleBook())
    assert records == reference.sessionize(events)
    return records


def test_many_ids_at_once_are_those_of_each_alone():
    sessions = [("é", "sales", f"c-{block}", 1_791_018_000_000 - block, block) for block in range(1, 100)]
    joined = [("|".join(session[:3]).encode(), *session[3:]) for session in sessions]
    assert usage_session_ids(joined) == [usage_session_id(*session).bytes for session in sessions]
    assert usage_session_ids([]) == []


def test_a_usage_record_has_these_fields():
    (record,) = both(user(0) + bot(1))
    assert record == {
        "session_id": "b11d0ea2-6820-59e2-a811-c74f0b06d8b3",
        "kind": "usage",
        "account_id": "acme",
        "bot_id": "sales",
        "user_id": "u-1",
        "channel": "web",
        "conversation_id": "c-1",
        "session_started_at": "2026-10-03T09:00:00.000Z",
        "block": 1,
        "started_at": "2026-10-03T09:00:00.000Z",
        "ended_at": "2026-10-03T09:01:00.000Z",
        "bot_ms": 60_000,
        "agent_ms": 0,
        "user_messages": 1,
        "bot_messages": 1,
        "status": "final",
        "revision": 2,
        "corrected_at": None,
        "algorithm": 1,
    }


def test_an_alert_record_has_these_fields():
    (record,) = both(alert(1, "d-1"))
    assert record == {
        "session_id": "0677e7f8-a621-5e54-b1ea-c0cf8b28140d",
        "kind": "alert",
        "account_id": "acme",
        "bot_id": "sales",
        "user_id": "u-1",
        "channel": "web",
        "delivery_id": "d-1",
        "started_at": "2026-10-03T09:01:00.000Z",
        "ended_at": "2026-10-03T09:01:00.000Z",
        "status": "final",
        "revision": 1,
        "corrected_at": None,
        "algorithm": 1,
    }


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (bot(0, user_id="bot") + user(1, user_id="u-2") + user(2, user_id="u-1"), ("u-2", "web")),
        (user(0, user_id="u-2", channel="a") + user(0, user_id="u-1", channel="b"), ("u-1", "b")),
        (user(0, user_id="u-1", channel="web") + user(0, user_id="u-1", channel="sms"), ("u-1", "sms")),
        (user(0, user_id="u!") + user(0, user_id="u"), ("u", "web")),
    ],
)
def test_user_and_channel_are_those_of_the_first_user_message(events, expected):
    (record,) = both(events)
    assert (record["user_id"], record["channel"]) == expected


def test_the_start_in_an_id_may_lie_before_1970_and_names_are_utf_8():
    session_id = usage_session_id("acmé", "sales", "c-1", -1, 12)
    assert str(session_id) == "8f6d9c0f-0ca9-5737-98e7-d2ba7d3248fe"


def test_each_session_bears_its_own_first_user():
    assert [record["user_id"] for record in both(user(0, user_id="u-2") + user(20, user_id="u-1"))] == [
        "u-2",
        "u-1",
    ]


def test_the_first_report_of_a_delivery_is_billed_however_often_it_is_reported():
    reports = (
        alert(5, "d-1", user_id="u-1")
        + alert(3, "d-1", user_id="u-2", channel="sms")
        + alert(3, "d-1", user_id="u-2", channel="web")
        + alert(3, "d-1", user_id="u-3", channel="a")
    )
    (record,) = both(reports)
    assert (record["started_at"], record["user_id"], record["channel"]) == (
        "2026-10-03T09:03:00.000Z",
        "u-2",
        "sms",
    )
    assert both(reports[::-1] + reports) == [record]


def test_a_delivery_is_itself_whichever_event_reports_it():
    assert len(both(alert(0, "d-1", id="e-1") + alert(1, "d-1", id="e-2", alert_id="a-2"))) == 1
    assert len(both(alert(0, "d-1", id="e-1") + alert(0, "d-2", id="e-1"))) == 2


def test_outcomes_of_reports():
    delivery = Delivery()
    first, other = Report(1, "u", "web"), Report(1, "u", "sms")
    outcomes = [delivery.add(report) for report in (first, first, other, first, other)]
    assert outcomes == [Outcome.FACT, Outcome.REPEAT, Outcome.CONFLICT, Outcome.REPEAT, Outcome.REPEAT]
    assert delivery.first == other


def test_test_traffic_agents_and_failed_alerts_are_no_facts_and_compete_with_none():
    real = user(5, id="e-1")
    aside = [
        event("conversation.message.v1", 0, "e-1", author="user", developer=True),
        event("conversation.message.v1", 0, "e-1", author="agent"),
        event("conversation.closed.v1", 0, "e-1", developer=True),
        event("alert.failed.v1", 0, "e-1", delivery_id="d-1", alert_id="a-1"),
        event("alert.delivered.v1", 0, "e-1", delivery_id="d-1", alert_id="a-1", developer=True),
    ]
    assert both(aside + real) == both(real) != []


def test_the_same_identity_in_two_conversations_is_two_facts():
    events = user(0, id="e-1", conversation_id="c-1") + user(0, id="e-1", conversation_id="c-2")
    assert [record["conversation_id"] for record in both(events)] == ["c-1", "c-2"]


def test_records_are_sorted_by_account_bot_kind_subject_and_start():
    events = [
        made
        for account_id in ("b", "a!")
        for bot_id in ("y", "x")
        for made in (
            *user(20, 0, account_id=account_id, bot_id=bot_id, conversation_id="c-10"),
            *user(10, account_id=account_id, bot_id=bot_id, conversation_id="c-1"),
            *alert(5, "é", account_id=account_id, bot_id=bot_id),
            *alert(9, "z", account_id=account_id, bot_id=bot_id),
        )
    ]
    expected = [
        (account_id, bot_id, *rest)
        for account_id in ("a!", "b")
        for bot_id in ("x", "y")
        for rest in (
            ("alert", "z", "09:09"),
            ("alert", "é", "09:05"),
            ("usage", "c-1", "09:10"),
            ("usage", "c-10", "09:00"),
            ("usage", "c-10", "09:20"),
        )
    ]
    records = both(random.Random(3).sample(events, len(events)))
    assert [
        (
            record["account_id"],
            record["bot_id"],
            record["kind"],
            record.get("conversation_id") or record["delivery_id"],
            record["started_at"][11:16],
        )
        for record in records
    ] == expected


def test_no_events_give_no_records():
    assert both([]) == []
