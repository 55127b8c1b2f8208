"""An explanation in words, to be read aloud: times in UTC, lengths in days, hours, minutes and seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from quarterhour.durations import UNITS_MS
from quarterhour.explaining import KIND_NAMES, Correction, Explanation, Mark, Marked, silent_blocks
from schemas.records import SessionRecord
from schemas.times import format_time_ms, parse_time_ms
from sessionizer.bill import BilledSession
from sessionizer.blocks import Block
from sessionizer.facts import CLOSED, HANDOFF_STARTED
from sessionizer.rules import RuleSet
from sessionizer.story import Effect, SpanEnd, Story, ToldFact
from sinks.histories import DatedSeal

_SPAN_ENDS = {
    SpanEnd.ENDED: "given back to the bot",
    SpanEnd.CLOSED: "never given back: it counts until the conversation was closed",
    SpanEnd.RAN_OUT: "never given back: it counts until the handoff timeout",
}
_MARKS = {
    Mark.IN_BILL: "is in the bill",
    Mark.REPEAT: "is a repeat: it counts once",
    Mark.LOSING_COPY: "is a losing copy: another copy of the same event counts",
    Mark.SEALED: "is of a time that is sealed: whether it counted is not known any more",
    Mark.NEVER_ARRIVED: "never arrived: still in Kafka, never sent, or a dead letter",
    Mark.SET_ASIDE: "is never billed: test traffic, an agent's message or a failed alert",
    Mark.ANOTHER_SUBJECT: "belongs elsewhere",
    Mark.REFUSED: "is no event",
}
_LENGTHS = ("bot_ms", "agent_ms")
_FIELDS = ("started_at", "ended_at", *_LENGTHS, "user_messages", "bot_messages", "user_id", "channel")


def lines_of(explanation: Explanation, allowed_lateness_ms: int) -> Iterator[str]:
    """The explanation, line by line."""
    yield from _head(explanation, allowed_lateness_ms)
    if explanation.record["kind"] == "alert":
        yield from _reports(explanation)
    elif explanation.sealed_by:
        assert explanation.rules
        yield from _rules(explanation.rules)
    elif explanation.story is None:
        yield from ("", "The ledger holds no facts of its conversation: run `quarterhour reconcile --deep`.")
    else:
        yield from _rules(explanation.story.rules)
        yield from _timeline(explanation.story, explanation.seals)
        yield from _agent_times(explanation.story)
        yield from _sessions(explanation)
    yield from _changes(explanation)
    if explanation.events is not None:
        yield from _events(explanation.events)


def _head(explanation: Explanation, allowed_lateness_ms: int) -> Iterator[str]:
    record = explanation.record
    where = f"account {record['account_id']}, bot {record['bot_id']}"
    if record["kind"] == "alert":
        yield f"Session {record['session_id']} is an alert session:"
        yield f"delivery {record['delivery_id']}, {where}."
    else:
        yield f"Session {record['session_id']} is a usage session:"
        yield f"conversation {record['conversation_id']}, {where};"
        yield f"block {record['block']} of the session that started at {_at(record['session_started_at'])}."
    yield _status(explanation, allowed_lateness_ms)
    if record["status"] != "void":
        yield from _billed(record)
    if explanation.sealed_by:
        yield from _sealed(explanation.sealed_by, explanation.seals[-1])
    elif not explanation.is_as_computed:
        yield "The facts below do not yield this record as it stands: run `quarterhour reconcile --deep`."


def _status(explanation: Explanation, allowed_lateness_ms: int) -> str:
    record = explanation.record
    corrected_at = record["corrected_at"] and _at(record["corrected_at"])
    match record["status"]:
        case "open":
            settles_ms = explanation.settles_ms
            when = "once its session has settled"
            if settles_ms is not None:
                when = f"once everything up to {_time(settles_ms + allowed_lateness_ms)} was read"
            return f"It is open: it may still grow. It becomes final {when}."
        case "void":
            billed_once = f"It was final once, and was corrected at {corrected_at}. " if corrected_at else ""
            return f"It is void: later facts removed it, and it is not billed. {billed_once}".rstrip()
    if corrected_at:
        return f"It is final: it is billed. It was corrected at {corrected_at}."
    return "It is final: it is billed, and was never corrected."


def _sealed(seal: DatedSeal, newest: DatedSeal) -> Iterator[str]:
    yield f"Its facts were sealed on {_day(seal.sealed_ms)}: they are gone, and it stands as it is for good."
    yield f"Of its conversation {_gone(newest)}."


def _gone(seal: DatedSeal) -> str:
    verb = "is" if seal.facts == 1 else "are"
    return f"{_count(seal.facts, 'fact')} through {_time(seal.through_ms)} {verb} gone"


def _billed(record: SessionRecord) -> Iterator[str]:
    who = f"user {record['user_id']}, channel {record['channel']}"
    if record["kind"] == "alert":
        yield f"It was first reported at {_at(record['started_at'])}: {who}."
        return
    yield f"It runs from {_at(record['started_at'])} to {_at(record['ended_at'])}: {who}."
    yield (
        f"In it are {_length(record['bot_ms'])} with the bot, which count, and {_length(record['agent_ms'])} "
        "with a human agent, which do not;"
    )
    users, bots = record["user_messages"], record["bot_messages"]
    yield f"{_count(users, 'message')} of the user to the bot, and {_count(bots, 'message')} of the bot."


def _reports(explanation: Explanation) -> Iterator[str]:
    yield from ("", f"Reports of this delivery: {len(explanation.reports)}. Only the first is billed.")
    rows = [
        (_time(time_ms), user_id, channel, "" if place else "the first: billed")
        for place, (time_ms, user_id, channel) in enumerate(explanation.reports)
    ]
    yield from _table(("time", "user", "channel", ""), rows)


def _rules(rules: RuleSet) -> Iterator[str]:
    scope = "all bots" if rules.bot_id is None else f"bot {rules.bot_id} of account {rules.account_id}"
    since = f" since {_time(rules.effective_ms)}" if rules.effective_ms > 0 else ""
    yield from ("", f"The rules for {scope}{since}:")
    block, idle = _length(rules.block_ms), _length(rules.idle_timeout_ms)
    yield f"  a block is {block} on the bot clock, which stands still while a human agent is there;"
    yield f"  a session ends at a close, or when the user is silent for more than {idle} on the bot clock;"
    yield f"  a handoff that is never given back ends after {_length(rules.handoff_timeout_ms)}."


def _timeline(story: Story, seals: Sequence[DatedSeal]) -> Iterator[str]:
    count = _count(len(story.facts), "fact")
    yield from ("", f"Timeline: {count}, numbered as they arrived; the bot clock is its session's.")
    if seals:
        yield f"  Before these, {_gone(seals[-1])}: sealed by {_day(seals[-1].sealed_ms)}."
    numbers = {fact.identity: fact.number for fact in story.facts if fact.effect is not Effect.LOSES}
    rows = [
        (
            str(fact.number),
            _time(fact.time_ms),
            "" if fact.bot_ms is None else _clock(fact.bot_ms),
            " ".join(filter(None, (KIND_NAMES[fact.kind], fact.handoff_id))),
            f"{fact.user_id}, {fact.channel}",
            f"{fact.identity:016x}",
            _effect(fact, numbers),
        )
        for fact in story.facts
    ]
    yield from _table(("fact", "time", "bot clock", "what", "user, channel", "identity", "came of it"), rows)


def _effect(fact: ToldFact, numbers: dict[int, int]) -> str:
    place = f"session {fact.session}" + (f", block {fact.block}" if fact.block else "")
    match fact.effect:
        case Effect.OPENS:
            return f"opens {place}"
        case Effect.BELONGS:
            return place
        case Effect.WITH_HUMAN:
            return "said to a human agent: counts nowhere"
        case Effect.UNANSWERED:
            return "counts nowhere: no session is open, and a bot opens none"
        case Effect.CLOSES:
            return f"ends session {fact.session}"
        case Effect.TAKES_OVER:
            return "a human agent takes over" + (f": {place}" if fact.session else "")
        case Effect.HANDS_BACK:
            return "back to the bot" + (f": {place}" if fact.session else "")
        case Effect.LOSES:
            return f"a copy of fact {numbers[fact.identity]} that says something else: does not count"
    if fact.kind == CLOSED:
        return "no effect: no session is open"
    was = "is with a human already" if fact.kind == HANDOFF_STARTED else "is not with a human"
    return f"no effect: {fact.handoff_id} {was}"


def _agent_times(story: Story) -> Iterator[str]:
    yield ""
    if not story.spans:
        yield "No human agent had the conversation: the bot clock is the clock on the wall."
        return
    yield "With a human agent:"
    for handoff_id, start_ms, end_ms, end in story.spans:
        length = "no time at all" if start_ms == end_ms else _length(end_ms - start_ms)
        yield f"  {handoff_id}: {_time(start_ms)} to {_time(end_ms)}, {length}; {_SPAN_ENDS[end]}"
    if len(story.agent_times) < len(story.spans):
        yield "Taken together, the bot clock stands still:"
        for start_ms, end_ms in story.agent_times:
            yield f"  {_time(start_ms)} to {_time(end_ms)}, {_length(end_ms - start_ms)}"


def _sessions(explanation: Explanation) -> Iterator[str]:
    story = explanation.story
    assert story
    blocks = sum(len(session.blocks) for session in story.sessions)
    yield from (
        "",
        f"{'What is left of the conversation' if explanation.seals else 'The conversation'} has "
        f"{_count(len(story.sessions), 'session')} and is billed as "
        f"{_count(blocks, 'usage session')}.",
    )
    before: BilledSession | None = None
    for number, session in enumerate(story.sessions, 1):
        if before:
            yield _between(before, session, story.agent_times)
        yield from _session(number, session, story.rules, explanation.block)
        before = session


def _between(before: BilledSession, after: BilledSession, agent_times: list[tuple[int, int]]) -> str:
    from_ms, to_ms = before.session.activity[-1][0], after.session.activity[0][0]
    agent_ms = sum(max(0, min(end_ms, to_ms) - max(start_ms, from_ms)) for start_ms, end_ms in agent_times)
    of_it = f", {_length(agent_ms)} of it with a human agent" if agent_ms else ""
    return f"  not billed: {_length(to_ms - from_ms)} between the two{of_it}"


def _session(number: int, session: BilledSession, rules: RuleSet, explained: Block | None) -> Iterator[str]:
    activity = session.session.activity
    length_ms = activity[-1][2] - activity[0][2]
    from_to = f"{_time(activity[0][0])} to {_time(activity[-1][0])}"
    yield f"Session {number}: {from_to}, {_length(length_ms)} on the bot clock"
    if session.session.closed_ms is not None:
        yield f"  ended by the close of {_time(session.session.closed_ms)}"
    else:
        yield (
            f"  the user was last there at {_time(session.session.engaged_ms)}; it could go on until "
            f"{_time(session.settles_ms)}"
        )
    silent = {first - 1: (first, last) for first, last in silent_blocks(session.blocks)}
    for block in session.blocks:
        from_ms = (block.block - 1) * rules.block_ms
        shown = f"bot clock {_clock(from_ms)} to {_clock(from_ms + block.bot_ms)}"
        from_to = f"{_time(block.started_ms)} to {_time(block.ended_ms)}"
        yield f"  block {block.block}: {shown}; {from_to}{', this record' if block == explained else ''}"
        if block.block in silent:
            first, last = silent[block.block]
            which = f"block {first} is" if first == last else f"blocks {first} to {last} are"
            yield f"  {which} silent: nothing lies there, not billed"


def _changes(explanation: Explanation) -> Iterator[str]:
    changes = explanation.changes
    if not changes:
        yield from ("", "Consumers were told nothing of it: it was never final.")
        return
    yield from ("", "What consumers were told of it, by position in billing.session_record_changes:")
    numbers = {fact.number: fact for fact in explanation.story.facts} if explanation.story else {}
    for before, change in zip([None, *changes], changes, strict=False):
        yield from _change(before, change, numbers)


def _change(before: Correction | None, change: Correction, numbers: dict[int, ToldFact]) -> Iterator[str]:
    record = change.record
    what = "void" if record["status"] == "void" else "final"
    corrected = f", a correction of {_at(record['corrected_at'])}" if record["corrected_at"] else ""
    yield f"  position {change.position}: {what}, revision {record['revision']}{corrected}"
    for name in _FIELDS if before and record["status"] != "void" else ():
        old, new = before.record.get(name), record.get(name)  # type: ignore[union-attr]
        if old != new:
            yield f"    {name} was {_value(name, old)} and is {_value(name, new)}"
    for number in change.because or ():
        fact = numbers[number]
        what = " ".join(filter(None, (KIND_NAMES[fact.kind], fact.handoff_id)))
        yield f"    because fact {number} arrived: {what}, {_time(fact.time_ms)}"


def _events(events: Sequence[Marked]) -> Iterator[str]:
    yield from ("", f"The events given: {len(events)}.")
    rows = [
        (
            str(marked.line),
            _at(marked.event["time"]) if marked.event else "",
            marked.event["id"] if marked.event else "",
            marked.event["source"] if marked.event else "",
            _fate(marked),
        )
        for marked in events
    ]
    yield from _table(("line", "time", "id", "source", "the event"), rows)


def _fate(marked: Marked) -> str:
    text = _MARKS[marked.mark]
    if marked.mark is Mark.NEVER_ARRIVED and marked.fact:
        return f"never arrived with this content: fact {marked.fact} is another copy of it"
    if marked.reason:
        return f"{text}: {marked.reason}"
    return f"{text} (fact {marked.fact})" if marked.fact else text


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be, two spaces between them."""
    table = [names, *rows]
    widths = [max(map(len, column)) for column in zip_longest(*table, fillvalue="")]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _value(name: str, value: object) -> str:
    if name in _LENGTHS and isinstance(value, int):
        return _length(value)
    return _at(value) if name.endswith("_at") and isinstance(value, str) else str(value)


def _at(time: str) -> str:
    return _time(parse_time_ms(time))


def _time(time_ms: int) -> str:
    return format_time_ms(time_ms).replace("T", " ").rstrip("Z")


def _day(time_ms: int) -> str:
    return _time(time_ms)[:10]


def _clock(bot_ms: int) -> str:
    seconds, milliseconds = divmod(bot_ms, 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


def _length(length_ms: int) -> str:
    parts = []
    for unit in ("d", "h", "min") if length_ms >= 2 * UNITS_MS["d"] else ("h", "min"):
        count, length_ms = divmod(length_ms, UNITS_MS[unit])
        if count:
            parts.append(f"{count} {unit}")
    if length_ms or not parts:
        parts.append(f"{length_ms / 1000:.3f}".rstrip("0").rstrip(".") + " s")
    return " ".join(parts)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
