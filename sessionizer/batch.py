"""The billing rule as one step: all events in, all session records out, every one final.

What `quarterhour sessionize` is; it holds every conversation in memory. No reading of events or rules here.
"""

from collections import defaultdict
from collections.abc import Iterable

from schemas.events import Event
from schemas.records import SessionRecord, sort_key
from schemas.times import format_time_ms
from sessionizer.alerts import Delivery
from sessionizer.bill import ALGORITHM, Block, bill
from sessionizer.facts import FactSet
from sessionizer.ids import alert_session_id, usage_session_id
from sessionizer.intake import fact_of, report_of
from sessionizer.rules import RuleBook

Key = tuple[str, str, str]


def sessionize(events: Iterable[tuple[Event, int]], rules: RuleBook) -> list[SessionRecord]:
    """Return the sorted records of these events, each given with its time in ms, in whatever order."""
    conversations: dict[Key, FactSet] = defaultdict(FactSet)
    deliveries: dict[Key, Delivery] = defaultdict(Delivery)
    for event, time_ms in events:
        _take(event, time_ms, conversations, deliveries)
    records = [_alert_record(key, delivery) for key, delivery in deliveries.items()]
    for key, facts in conversations.items():
        in_force = rules.in_force(key[0], key[1], facts.earliest_ms)
        records += [_usage_record(key, block, facts.revision) for block in bill(facts, in_force).blocks]
    return sorted(records, key=sort_key)


def _take(
    event: Event, time_ms: int, conversations: dict[Key, FactSet], deliveries: dict[Key, Delivery]
) -> None:
    """Add one event to its conversation or delivery, unless it is one that is set aside."""
    bot = (event["data"]["account_id"], event["data"]["bot_id"])
    if event["data"]["developer"]:
        return
    if event["type"] == "alert.delivered.v1" or event["type"] == "alert.failed.v1":
        if report := report_of(event, time_ms):
            deliveries[*bot, event["data"]["delivery_id"]].add(report)
    elif fact := fact_of(event, time_ms):
        conversations[*bot, event["data"]["conversation_id"]].add(*fact)


def _usage_record(key: Key, block: Block, revision: int) -> SessionRecord:
    account_id, bot_id, conversation_id = key
    return {
        "session_id": str(usage_session_id(*key, block.session_started_ms, block.block)),
        "kind": "usage",
        "account_id": account_id,
        "bot_id": bot_id,
        "user_id": block.user_id,
        "channel": block.channel,
        "conversation_id": conversation_id,
        "session_started_at": format_time_ms(block.session_started_ms),
        "block": block.block,
        "started_at": format_time_ms(block.started_ms),
        "ended_at": format_time_ms(block.ended_ms),
        "bot_ms": block.bot_ms,
        "agent_ms": block.agent_ms,
        "user_messages": block.user_messages,
        "bot_messages": block.bot_messages,
        "status": "final",
        "revision": revision,
        "corrected_at": None,
        "algorithm": ALGORITHM,
    }


def _alert_record(key: Key, delivery: Delivery) -> SessionRecord:
    account_id, bot_id, delivery_id = key
    first = delivery.first
    return {
        "session_id": str(alert_session_id(*key)),
        "kind": "alert",
        "account_id": account_id,
        "bot_id": bot_id,
        "user_id": first.user_id,
        "channel": first.channel,
        "delivery_id": delivery_id,
        "started_at": format_time_ms(first.time_ms),
        "ended_at": format_time_ms(first.time_ms),
        "status": "final",
        "revision": 1,
        "corrected_at": None,
        "algorithm": ALGORITHM,
    }
