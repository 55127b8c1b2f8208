"""Why a session record is as it is: what the ledger holds of it, made one object, and events to look for.

No I/O. `quarterhour.explained_text` says the same for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from quarterhour.lines import decode_line
from schemas.decode import Rejected
from schemas.events import Event
from schemas.records import SessionRecord
from schemas.times import format_time_ms, parse_time_ms
from schemas.topics import join_key, key_of
from sessionizer.alerts import Report
from sessionizer.blocks import Block
from sessionizer.facts import BOT_MESSAGE, CLOSED, HANDOFF_ENDED, HANDOFF_STARTED, USER_MESSAGE
from sessionizer.intake import fact_of, report_of
from sessionizer.packed import PackedFacts
from sessionizer.rules import RuleBook, RuleSet
from sessionizer.story import Effect, Story, ToldFact, causes, causes_since, tell
from sinks.histories import DatedSeal, History

KIND_NAMES = {
    USER_MESSAGE: "user message",
    BOT_MESSAGE: "bot message",
    CLOSED: "closed",
    HANDOFF_STARTED: "handoff started",
    HANDOFF_ENDED: "handoff ended",
}
_SHOWN_AS_THEY_ARE = ("block", "bot_ms", "agent_ms", "user_messages", "bot_messages", "user_id", "channel")
_AUTHORS = {USER_MESSAGE: "user", BOT_MESSAGE: "bot"}


class Mark(StrEnum):
    """What became of an event that was given to look for."""

    IN_BILL = "in_bill"
    """It is one of those that the bill is computed from (for an alert: its first report)."""
    REPEAT = "repeat"
    """It came before: in this file, or, for an alert, as a report earlier than this one."""
    LOSING_COPY = "losing_copy"
    """Another copy of it, with other content, counts in its place."""
    SEALED = "sealed"
    """Its time is sealed: what was billed then stands, and of what is not known any more."""
    NEVER_ARRIVED = "never_arrived"
    """The ledger has never read it: still in Kafka, never sent, or a dead letter."""
    SET_ASIDE = "set_aside"
    """Never billed: test traffic, an agent's message, a failed alert."""
    ANOTHER_SUBJECT = "another_subject"
    """Of another conversation or delivery."""
    REFUSED = "refused"
    """No event at all."""


_Fate = tuple[Mark, int | None]
"""A mark, and the number of the fact that it is about."""
_Content = tuple[Any, ...]
"""What tells an event from others: a `NewFact`, whose third part is its identity, or a `Report`."""


class Marked(NamedTuple):
    """A line of a file of events, what became of it, and the number of the fact that it is."""

    line: int
    event: Event | None
    mark: Mark
    fact: int | None = None
    reason: str | None = None


class Correction(NamedTuple):
    """What consumers were told of a record; `because` are the facts that brought a correction, if known."""

    position: int
    record: SessionRecord
    because: list[int] | None


class Explanation(NamedTuple):
    """All there is to say of a record; the story is that of its conversation, the reports of its delivery.

    A record that is sealed has no story. Of a conversation with seals it is that of what is left.
    """

    record: SessionRecord
    changes: list[Correction]
    seals: list[DatedSeal]
    rules: RuleSet | None
    story: Story | None
    reports: list[Report]
    events: list[Marked] | None

    @property
    def block(self) -> Block | None:
        """The block of a usage record, as its facts make it now."""
        if self.story is None:
            return None
        name = _name(self.record)
        blocks = (block for session in self.story.sessions for block in session.blocks)
        return next((it for it in blocks if (it.session_started_ms, it.block) == name), None)

    @property
    def settles_ms(self) -> int | None:
        """When its session settles, or an alert was reported; None if no session of it is left."""
        if self.record["kind"] == "alert":
            return parse_time_ms(self.record["started_at"])
        return self.block and self.block.settles_ms

    @property
    def sealed_by(self) -> DatedSeal | None:
        """The seal by which the facts of the record went."""
        if self.record["kind"] == "alert":
            return None
        started_ms, _ = _name(self.record)
        return next((seal for seal in self.seals if started_ms <= seal.through_ms), None)

    @property
    def is_as_computed(self) -> bool | None:
        """Whether the ledger's record bills what its facts yield; None if they are sealed."""
        if self.sealed_by:
            return None
        # An alert is its first report itself.
        return self.record["kind"] == "alert" or _is_billed(self.block, self.record)


def explain(history: History, lines: Iterable[bytes] | None) -> Explanation:
    """Make all that the ledger holds of a record one explanation; `lines` are events to look for."""
    record = history.record
    story: Story | None = None
    rules: RuleSet | None = None
    reports: list[Report] = []
    if record["kind"] == "alert":
        first = Report(parse_time_ms(record["started_at"]), record["user_id"], record["channel"])
        reports = [first, *(Report(*report) for report in history.further_reports)]
        changes = [Correction(*change, None) for change in history.changes]
        known = _fates_of_reports(reports)
    else:
        packed = PackedFacts(history.facts, history.strings)
        book = RuleBook(RuleSet(**row) for row in history.rule_sets)
        seal = history.seals[-1] if history.seals else None

        def rules_at(earliest_ms: int) -> RuleSet:
            begun_ms = seal.begun_ms if seal else earliest_ms
            return book.in_force(record["account_id"], record["bot_id"], begun_ms)

        if seal:
            rules = rules_at(seal.begun_ms)
        if packed.revision:
            story = tell(packed, rules_at, seal.facts if seal else 0)
            rules = story.rules
        changes = list(_changes(history, packed, rules_at))
        known = _fates_of_facts(story.facts if story else ())
        if seal and _name(record)[0] <= seal.through_ms:
            story = None
    events = None if lines is None else list(_mark(lines, record, known, history.seals))
    return Explanation(record, changes, history.seals, rules, story, reports, events)


def billed(block: Block) -> dict[str, Any]:
    """The fields of a block as its session record shows them."""
    fields = block._asdict()
    times = {
        f"{name}_at": format_time_ms(fields[f"{name}_ms"]) for name in ("session_started", "started", "ended")
    }
    return times | {name: fields[name] for name in _SHOWN_AS_THEY_ARE}


def as_object(explanation: Explanation) -> dict[str, Any]:
    """The explanation for programs."""
    settles_ms = explanation.settles_ms
    found: dict[str, Any] = {
        "record": explanation.record,
        "settles_at": None if settles_ms is None else format_time_ms(settles_ms),
        "is_as_computed": explanation.is_as_computed,
        "changes": [change._asdict() for change in explanation.changes],
    }
    if explanation.record["kind"] == "alert":
        found["reports"] = [
            {"reported_at": format_time_ms(time_ms), "user_id": user_id, "channel": channel}
            for time_ms, user_id, channel in explanation.reports
        ]
    else:
        found["is_sealed"] = explanation.sealed_by is not None
        found["seals"] = [
            {
                "sealed_at": format_time_ms(seal.sealed_ms),
                "sealed_through": format_time_ms(seal.through_ms),
                "facts": seal.facts,
                "began_at": format_time_ms(seal.begun_ms),
            }
            for seal in explanation.seals
        ]
    if explanation.rules:
        found["rule_set"] = rule_set_object(explanation.rules)
    if explanation.story:
        found |= _story_object(explanation.story)
    if explanation.events is not None:
        found["events"] = [
            {
                **{"line": line, "id": event and event["id"], "source": event and event["source"]},
                **{"mark": mark, "fact": fact, "reason": reason},
            }
            for line, event, mark, fact, reason in explanation.events
        ]
    return found


def _story_object(story: Story) -> dict[str, Any]:
    return {
        "facts": [
            {
                "number": fact.number,
                "time": format_time_ms(fact.time_ms),
                "kind": KIND_NAMES[fact.kind],
                "author": _AUTHORS.get(fact.kind),
                "identity": f"{fact.identity:016x}",
                "handoff_id": fact.handoff_id or None,
                **{"user_id": fact.user_id, "channel": fact.channel, "effect": fact.effect},
                **{"session": fact.session, "block": fact.block, "bot_ms": fact.bot_ms},
            }
            for fact in story.facts
        ],
        "spans": [
            {**_from_to(start_ms, end_ms), "handoff_id": handoff_id, "end": end}
            for handoff_id, start_ms, end_ms, end in story.spans
        ],
        "agent_times": [_from_to(*interval) for interval in story.agent_times],
        "sessions": [
            {
                **_from_to(it.session.activity[0][0], it.session.activity[-1][0]),
                "closed_at": None if it.session.closed_ms is None else format_time_ms(it.session.closed_ms),
                "settles_at": format_time_ms(it.settles_ms),
                "blocks": [billed(block) for block in it.blocks],
                "silent_blocks": silent_blocks(it.blocks),
            }
            for it in story.sessions
        ],
    }


def rule_set_object(rules: RuleSet) -> dict[str, Any]:
    """A rule set; what has always been in force is so from no time on."""
    return {
        "account_id": rules.account_id,
        "bot_id": rules.bot_id,
        "effective_from": format_time_ms(rules.effective_ms) if rules.effective_ms >= 0 else None,
        "block_ms": rules.block_ms,
        "idle_timeout_ms": rules.idle_timeout_ms,
        "handoff_timeout_ms": rules.handoff_timeout_ms,
    }


def silent_blocks(blocks: list[Block]) -> list[tuple[int, int]]:
    """The first and last numbers of blocks in a row in which nothing lies."""
    pairs = zip(blocks, blocks[1:], strict=False)
    return [(one.block + 1, next_.block - 1) for one, next_ in pairs if next_.block > one.block + 1]


def _from_to(start_ms: int, end_ms: int) -> dict[str, str]:
    return {"started_at": format_time_ms(start_ms), "ended_at": format_time_ms(end_ms)}


def _name(record: SessionRecord) -> tuple[int, int]:
    return parse_time_ms(record["session_started_at"]), record["block"]


def _key(record: SessionRecord) -> bytes:
    subject = record["delivery_id"] if record["kind"] == "alert" else record["conversation_id"]
    return join_key(record["account_id"], record["bot_id"], subject)


def _changes(
    history: History, packed: PackedFacts, rules_at: Callable[[int], RuleSet]
) -> Iterator[Correction]:
    """Each change; of a correction, the facts that came since the change before and altered the record."""
    before: SessionRecord | None = None
    for position, record in history.changes:
        yield Correction(position, record, _because(history, packed, rules_at, before, record))
        before = record


def _because(
    history: History,
    packed: PackedFacts,
    rules_at: Callable[[int], RuleSet],
    before: SessionRecord | None,
    record: SessionRecord,
) -> list[int] | None:
    """Which facts made of what was told before this correction; None if it is none, or they are not known."""
    name, revision, corrected_at = _name(record), record["revision"], record["corrected_at"]
    if corrected_at is None:
        return None
    if not history.seals:
        told = before["revision"] if before else 0
        return causes(packed, rules_at, name, told, revision) if told <= revision <= packed.revision else None
    seal = history.seals[-1]
    if name[0] <= seal.through_ms or parse_time_ms(corrected_at) < seal.sealed_ms:
        return None
    # How many of those that are left had come by the change before is not known.
    was = partial(_is_billed, record=before)
    numbers = causes_since(packed, rules_at, name, revision - seal.facts, was)
    return numbers and [seal.facts + number for number in numbers]


def _is_billed(block: Block | None, record: SessionRecord | None) -> bool:
    """Whether a block is billed as this record; what is void or not there is no block."""
    if block is None or record is None or record["status"] == "void":
        return block is None and (record is None or record["status"] == "void")
    return all(record.get(name) == value for name, value in billed(block).items())


def _mark(
    lines: Iterable[bytes],
    record: SessionRecord,
    known: Mapping[_Content, _Fate],
    seals: Sequence[DatedSeal],
) -> Iterator[Marked]:
    """Mark each line that is not empty; `known` is what the ledger holds of the record's subject."""
    subject = _key(record), record["kind"] == "alert"
    copies = {content[2]: fact for content, (mark, fact) in known.items() if mark is Mark.IN_BILL}
    seen: set[_Content] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event, time_ms, _ = decode_line(line)
        except Rejected as rejected:
            yield Marked(number, None, Mark.REFUSED, reason=str(rejected))
            continue
        content = _content(event, time_ms)
        if (key_of(event), "delivery_id" in event["data"]) != subject:
            fate: _Fate = Mark.ANOTHER_SUBJECT, None
        elif content is None:
            fate = Mark.SET_ASIDE, None
        elif seals and time_ms <= seals[-1].through_ms:
            fate = Mark.SEALED, None
        elif content not in known:
            fate = Mark.NEVER_ARRIVED, copies.get(content[2])
        else:
            mark, fact = known[content]
            fate = (Mark.REPEAT if content in seen else mark), fact
            seen.add(content)
        yield Marked(number, event, *fate)


def _content(event: Event, time_ms: int) -> _Content | None:
    """What of an event the ledger keeps; None for one that is set aside."""
    if event["data"]["developer"]:
        return None
    if event["type"] == "alert.delivered.v1" or event["type"] == "alert.failed.v1":
        return report_of(event, time_ms)
    return fact_of(event, time_ms)


def _fates_of_facts(facts: Iterable[ToldFact]) -> dict[_Content, _Fate]:
    return {
        fact[1:7]: (Mark.LOSING_COPY if fact.effect is Effect.LOSES else Mark.IN_BILL, fact.number)
        for fact in facts
    }


def _fates_of_reports(reports: Iterable[Report]) -> dict[_Content, _Fate]:
    first, *further = reports
    return {first: (Mark.IN_BILL, None), **dict.fromkeys(further, (Mark.REPEAT, None))}
