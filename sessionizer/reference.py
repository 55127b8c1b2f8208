"""The billing rules once more, slow and obvious: the oracle that the fast code is compared with.

Written from the page alone. It shares no algorithm and no import with its siblings, and must not: a mistake
in one would hide in the other. It reads valid events as plain dicts, and knows neither lateness nor status.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_DNS, uuid5

Event = dict[str, Any]
Record = dict[str, Any]
Rules = dict[str, Any]
Span = tuple[int, int]
Clock = Callable[[int], int]

DEFAULT_RULES: Rules = {"block_ms": 900_000, "idle_timeout_ms": 900_000, "handoff_timeout_ms": 86_400_000}


class Fact(NamedTuple):
    """An event's identity with its content; absent is the empty text."""

    source: str
    id: str
    time_ms: int
    type: str
    author: str
    handoff_id: str
    user_id: str
    channel: str


class Activity(NamedTuple):
    """Something that happened, at a wall time: a user's or bot's message, the end of a span."""

    time_ms: int
    what: str
    user_id: str = ""
    channel: str = ""


def sessionize(events: Iterable[Event], rules: list[Rules] | None = None) -> list[Record]:
    """Return the final session records of valid events, sorted, in their NDJSON form.

    A row of `rules` has effective_ms, account_id and bot_id (or None), and any of the three lengths in ms.
    """
    conversations, deliveries, _ = _sort_out(events)
    records = [_alert_record(key, reports) for key, reports in deliveries.items()]
    for key, facts in conversations.items():
        for block in _bill(facts, _rules_in_force(rules or [], key, facts)):
            records.append(_usage_record(key, block, len(facts)))
    return sorted(records, key=_place)


def outcomes(events: Iterable[Event]) -> Counter[str]:
    """Return how many of these valid events had each outcome; the order of events does not matter."""
    conversations, deliveries, counts = _sort_out(events)
    known = [len({(fact.source, fact.id) for fact in facts}) for facts in conversations.values()]
    distinct = sum(map(len, conversations.values())) + sum(map(len, deliveries.values()))
    counts["fact"] = sum(known) + len(deliveries)
    counts["conflict"] = distinct - counts["fact"]
    counts["repeat"] = counts.pop("read", 0) - distinct
    return +counts


# --- section 1 and 2: events, facts, rule sets


def _sort_out(
    events: Iterable[Event],
) -> tuple[dict[tuple[str, str, str], set[Fact]], dict[tuple[str, str, str], set[Activity]], Counter[str]]:
    conversations: dict[tuple[str, str, str], set[Fact]] = defaultdict(set)
    deliveries: dict[tuple[str, str, str], set[Activity]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for event in events:
        data = event["data"]
        if data.get("developer", False):
            counts["test_traffic"] += 1
        elif event["type"] == "alert.failed.v1" or _author(event) == "agent":
            counts["unbilled"] += 1
        elif event["type"] == "alert.delivered.v1":
            counts["read"] += 1
            report = Activity(_time_ms(event["time"]), "alert", data["user_id"], data["channel"])
            deliveries[data["account_id"], data["bot_id"], data["delivery_id"]].add(report)
        else:
            counts["read"] += 1
            conversations[data["account_id"], data["bot_id"], data["conversation_id"]].add(_fact(event))
    return conversations, deliveries, counts


def _author(event: Event) -> str:
    return str(event["data"]["author"]) if event["type"] == "conversation.message.v1" else ""


def _fact(event: Event) -> Fact:
    data = event["data"]
    handoff_id = data["handoff_id"] if event["type"].startswith("handoff.") else ""
    return Fact(
        event["source"],
        event["id"],
        _time_ms(event["time"]),
        event["type"],
        _author(event),
        handoff_id,
        data["user_id"],
        data["channel"],
    )


def _time_ms(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _winners(facts: set[Fact]) -> list[Fact]:
    # Sorted by all of identity and content, the first copy of an identity is the one that wins.
    winners: dict[tuple[str, str], Fact] = {}
    for fact in sorted(facts):
        winners.setdefault((fact.source, fact.id), fact)
    return list(winners.values())


def _rules_in_force(rules: list[Rules], key: tuple[str, str, str], facts: set[Fact]) -> Rules:
    earliest_ms = min(fact.time_ms for fact in facts)
    begun = sorted((row for row in rules if row["effective_ms"] <= earliest_ms), key=_effective_ms)
    of_all = [row for row in begun if row["account_id"] is None]
    of_bot = [row for row in begun if (row["account_id"], row["bot_id"]) == key[:2]]
    return DEFAULT_RULES | (of_bot or of_all or [{}])[-1]


def _effective_ms(row: Rules) -> int:
    return int(row["effective_ms"])


# --- sections 3 and 4: spans and the bot clock


def _spans(facts: list[Fact], handoff_timeout_ms: int) -> list[Span]:
    closes = sorted(fact.time_ms for fact in facts if fact.type == "conversation.closed.v1")
    spans: list[Span] = []
    for handoff_id in {fact.handoff_id for fact in facts} - {""}:
        # In one millisecond `started` stands before `ended`: False is before True.
        story = sorted(
            (fact.time_ms, fact.type == "handoff.ended.v1") for fact in facts if fact.handoff_id == handoff_id
        )
        spans += _spans_of_story(story, closes, handoff_timeout_ms)
    return _united([(start, end) for start, end in spans if start < end])


def _spans_of_story(
    story: list[tuple[int, bool]], closes: list[int], handoff_timeout_ms: int
) -> Iterator[Span]:
    while story:
        (time_ms, is_end), *story = story
        if is_end:
            continue
        ends = [index for index, (_, later_is_end) in enumerate(story) if later_is_end]
        if ends:
            yield time_ms, story[ends[0]][0]
            story = story[ends[0] + 1 :]
        else:
            runs_out_ms = min(
                [time_ms + handoff_timeout_ms] + [close for close in closes if close >= time_ms]
            )
            yield time_ms, runs_out_ms
            story = [(later_ms, is_end) for later_ms, is_end in story if later_ms >= runs_out_ms]


def _united(spans: list[Span]) -> list[Span]:
    """Put each span in turn together with all those before it that it overlaps or touches."""
    apart: list[Span] = []
    for start, end in spans:
        met = [other for other in apart if other[0] <= end and start <= other[1]]
        apart = [other for other in apart if other not in met]
        apart.append((min([start, *(s for s, _ in met)]), max([end, *(e for _, e in met)])))
    return sorted(apart)


def _bot_clock(spans: list[Span]) -> Clock:
    def bot(time_ms: int) -> int:
        return time_ms - sum(min(end, time_ms) - start for start, end in spans if start < time_ms)

    return bot


def _instants(bot_ms: int, spans: list[Span], bot: Clock) -> list[int]:
    """Return the wall times at which the bot clock shows `bot_ms`; of those in a span, only its two ends."""
    gone = [0]
    for start, end in spans:
        gone.append(gone[-1] + end - start)
    candidates = [bot_ms + agent_ms for agent_ms in gone] + [instant for span in spans for instant in span]
    return [instant for instant in candidates if bot(instant) == bot_ms]


# --- section 5: conversation sessions


def _sessions(
    facts: list[Fact], spans: list[Span], bot: Clock, idle_timeout_ms: int
) -> Iterator[list[Activity]]:
    activities = [
        Activity(fact.time_ms, fact.author, fact.user_id, fact.channel)
        for fact in facts
        if fact.author and not any(start <= fact.time_ms < end for start, end in spans)
    ]
    activities += [Activity(instant, "span") for span in spans for instant in span]
    # A user's message stands before what else is in its millisecond; of several, the smaller user_id first.
    activities.sort(key=lambda activity: (activity.time_ms, activity.what != "user", *activity))
    closes = sorted({fact.time_ms for fact in facts if fact.type == "conversation.closed.v1"})
    for close_ms in closes:
        upto = [activity for activity in activities if activity.time_ms <= close_ms]
        activities = activities[len(upto) :]
        yield from _sessions_without_close(upto, bot, idle_timeout_ms)
    yield from _sessions_without_close(activities, bot, idle_timeout_ms)


def _sessions_without_close(
    activities: list[Activity], bot: Clock, idle_timeout_ms: int
) -> Iterator[list[Activity]]:
    users = [place for place, activity in enumerate(activities) if activity.what == "user"]
    size = 0
    for place in users:
        if place >= size:
            size = _end_of_session(activities, place, bot, idle_timeout_ms)
            yield activities[place:size]


def _end_of_session(activities: list[Activity], place: int, bot: Clock, idle_timeout_ms: int) -> int:
    """Return the first place after `place` whose activity is not of the session that opens there."""
    engaged_ms = bot(activities[place].time_ms)
    while place < len(activities) and bot(activities[place].time_ms) - engaged_ms <= idle_timeout_ms:
        if activities[place].what in ("user", "span"):
            engaged_ms = bot(activities[place].time_ms)
        place += 1
    return place


# --- section 6: blocks


def _bill(facts: set[Fact], rules: Rules) -> Iterator[Record]:
    winners = _winners(facts)
    spans = _spans(winners, rules["handoff_timeout_ms"])
    bot = _bot_clock(spans)
    for session in _sessions(winners, spans, bot, rules["idle_timeout_ms"]):
        yield from _blocks(session, spans, bot, rules["block_ms"])


def _blocks(session: list[Activity], spans: list[Span], bot: Clock, block_ms: int) -> Iterator[Record]:
    start_ms, last_ms = session[0].time_ms, bot(session[-1].time_ms)
    ages = [(bot(activity.time_ms) - bot(start_ms), activity.what) for activity in session]
    number = 0
    while number == 0 or number * block_ms < last_ms - bot(start_ms):
        number += 1
        above_ms, upto_ms = (number - 1) * block_ms, number * block_ms
        own = [what for age_ms, what in ages if above_ms < age_ms <= upto_ms or (number == 1 and age_ms == 0)]
        if not own:
            continue
        from_ms, to_ms = bot(start_ms) + above_ms, min(bot(start_ms) + upto_ms, last_ms)
        started_ms = start_ms if number == 1 else max(_instants(from_ms, spans, bot))
        ended_ms = max(started_ms, min(_instants(to_ms, spans, bot)))
        yield {
            "user_id": session[0].user_id,
            "channel": session[0].channel,
            "session_started_ms": start_ms,
            "block": number,
            "started_ms": started_ms,
            "ended_ms": ended_ms,
            "bot_ms": to_ms - from_ms,
            "agent_ms": (ended_ms - started_ms) - (to_ms - from_ms),
            "user_messages": own.count("user"),
            "bot_messages": own.count("bot"),
        }


# --- sections 7 and 8: alerts and records


def _usage_record(key: tuple[str, str, str], block: Record, revision: int) -> Record:
    name = "|".join(["usage", *key, str(block["session_started_ms"]), str(block["block"])])
    return {
        "session_id": _uuid(name),
        "kind": "usage",
        "account_id": key[0],
        "bot_id": key[1],
        "user_id": block["user_id"],
        "channel": block["channel"],
        "conversation_id": key[2],
        "session_started_at": _time(block["session_started_ms"]),
        "block": block["block"],
        "started_at": _time(block["started_ms"]),
        "ended_at": _time(block["ended_ms"]),
        "bot_ms": block["bot_ms"],
        "agent_ms": block["agent_ms"],
        "user_messages": block["user_messages"],
        "bot_messages": block["bot_messages"],
        "status": "final",
        "revision": revision,
        "corrected_at": None,
        "algorithm": 1,
    }


def _alert_record(key: tuple[str, str, str], reports: set[Activity]) -> Record:
    first = min(reports)
    return {
        "session_id": _uuid("|".join(["alert", *key])),
        "kind": "alert",
        "account_id": key[0],
        "bot_id": key[1],
        "user_id": first.user_id,
        "channel": first.channel,
        "delivery_id": key[2],
        "started_at": _time(first.time_ms),
        "ended_at": _time(first.time_ms),
        "status": "final",
        "revision": 1,
        "corrected_at": None,
        "algorithm": 1,
    }


def _uuid(name: str) -> str:
    return str(uuid5(uuid5(NAMESPACE_DNS, "quarterhour"), name))


def _time(time_ms: int) -> str:
    return (datetime(1970, 1, 1) + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds") + "Z"


def _place(record: Record) -> tuple[str, ...]:
    subject = record["delivery_id"] if record["kind"] == "alert" else record["conversation_id"]
    return record["account_id"], record["bot_id"], record["kind"], subject, record["started_at"]
