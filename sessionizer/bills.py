"""The bills of many plain conversations at once, by columns: what `bill` makes of each, for less.

Plain is a conversation of messages and closes only, no two of which share an identity: its bot clock is the
wall clock, and all its facts are winners. The sections of the billing rules are those of `bill`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sessionizer.bill import Bill
from sessionizer.blocks import Block
from sessionizer.facts import USER_MESSAGE
from sessionizer.packed import FACT, Ints, PackedFacts, Rows, indexes_of, times_of
from sessionizer.rules import RuleSet

MOST_CONVERSATIONS: Final = 1 << 16
"""In one call: an activity's conversation, time and step are sorted as one int64."""

# In the order of one millisecond, as in sessionizer.sessions; the end of a span does not occur.
_USER, _BOT, _CLOSE = range(3)

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Walk:
    """Activity in the order of the walk, set by set, and the sessions that it makes (section 5)."""

    of_set: Ints
    time_ms: Ints
    line: Ints
    is_user: Flags
    is_member: Flags
    """Whether it belongs to a session: the number of which stands in `session`, for all others too."""
    session: Ints
    first: Ints
    """Of each session: the place of the user message that opens it."""
    settles_ms: Ints
    """Of each session."""


def bill_plain(sets: Sequence[PackedFacts], rules_of: Callable[[int, int], RuleSet]) -> list[Bill]:
    """Return the bill of each set, all of them plain and none empty.

    `rules_of` says which rule set is in force for a set's place and the time of its earliest fact. Times lie
    between 0 and schemas.decode.LAST_TIME_MS.
    """
    rows = np.frombuffer(b"".join([facts.facts for facts in sets]), FACT)
    counts = np.array([facts.revision for facts in sets])
    starts = counts.cumsum() - counts
    time_ms = times_of(rows)
    earliest_ms = np.minimum.reduceat(time_ms, starts).tolist()
    rules = [rules_of(place, earliest) for place, earliest in enumerate(earliest_ms)]
    settles_ms = np.maximum.reduceat(time_ms, starts)
    walk = _walk(rows, counts, np.array([rule.idle_timeout_ms for rule in rules]))
    blocks: list[Block] = []
    ends = [0] * len(sets)
    if len(walk.first):
        of_session = walk.of_set[walk.first]
        np.maximum.at(settles_ms, of_session, walk.settles_ms)
        strings = [facts.strings for facts in sets]
        sessions, blocks = _blocks(walk, np.array([rule.block_ms for rule in rules]), _names(walk, strings))
        ends = np.bincount(of_session[sessions], minlength=len(sets)).cumsum().tolist()
    return [
        Bill(tuple(blocks[begin:end]), settles)
        for begin, end, settles in zip([0, *ends], ends, settles_ms.tolist(), strict=False)
    ]


def _walk(rows: Rows, counts: Ints, idle_ms: Ints) -> _Walk:
    of_set = np.arange(len(counts)).repeat(counts)
    step = USER_MESSAGE - rows["kind"].astype(np.int64)
    time_ms = times_of(rows)
    # Sorting leaves the rows of each set where they were.
    order = (of_set << 46 | time_ms << 2 | step).argsort(kind="stable")
    time_ms, step = time_ms[order], step[order]
    place = np.arange(len(order))
    is_user = step == _USER
    last_user = np.maximum.accumulate(np.where(is_user, place, -1))
    user_before = _shifted(last_user)
    close_before = _shifted(np.maximum.accumulate(np.where(step == _CLOSE, place, -1)))
    belongs = (
        (user_before >= (counts.cumsum() - counts)[of_set])
        & (close_before < user_before)
        & (time_ms <= time_ms[user_before] + idle_ms[of_set])
    )
    opens = is_user & ~belongs
    first = np.flatnonzero(opens)
    session = opens.cumsum() - 1
    # Rows between a session's first and the next one's hold no user message but its own.
    engaged = last_user[np.append(first[1:], len(place)) - 1] if len(first) else first
    settles_ms = time_ms[engaged] + idle_ms[of_set[first]]
    closing = np.flatnonzero(belongs & (step == _CLOSE))
    settles_ms[session[closing]] = time_ms[closing]
    is_member = is_user | (belongs & (step == _BOT))
    line = indexes_of(rows)[order]
    return _Walk(of_set, time_ms, line, is_user, is_member, session, first, settles_ms)


def _blocks(walk: _Walk, block_ms: Ints, names: Sequence[tuple[str, str]]) -> tuple[Ints, list[Block]]:
    """The blocks of all sessions in order, and the number of each one's session (section 6)."""
    member = np.flatnonzero(walk.is_member)
    of, time_ms = walk.session[member], walk.time_ms[member]
    is_last = np.append(of[1:] != of[:-1], True)
    last_ms = time_ms[is_last]
    first_ms, length_ms = walk.time_ms[walk.first], block_ms[walk.of_set[walk.first]]
    # The division rounded up; the first block has its own start too.
    number = np.maximum(-((first_ms[of] - time_ms) // length_ms[of]), 1)
    begins = np.flatnonzero(np.append(True, is_last[:-1] | (number[1:] != number[:-1])))
    users = np.add.reduceat(walk.is_user[member].astype(np.int64), begins)
    messages = np.diff(np.append(begins, len(member)))
    of, number = of[begins], number[begins]
    started_ms = first_ms[of] + (number - 1) * length_ms[of]
    ended_ms = np.minimum(started_ms + length_ms[of], last_ms[of])
    columns = (
        *(first_ms[of], number, started_ms, ended_ms, ended_ms - started_ms),
        *(users, messages - users, walk.settles_ms[of]),
    )
    blocks = [
        Block(session_started, block, started, ended, bot, 0, user, bots, user_id, channel, settles)
        for (user_id, channel), session_started, block, started, ended, bot, user, bots, settles in zip(
            [names[session] for session in of.tolist()],
            *(column.tolist() for column in columns),
            strict=True,
        )
    ]
    return of, blocks


def _shifted(places: Ints) -> Ints:
    """For each place what was so before it; -1 for the first."""
    return np.append(-1, places[:-1])


def _names(walk: _Walk, strings: Sequence[str]) -> list[tuple[str, str]]:
    """User and channel of each session's first user message; in one millisecond, the smaller."""
    first, of_set, time_ms = walk.first, walk.of_set, walk.time_ms
    names = []
    of, table = -1, [""]
    for line, number in zip(walk.line[first].tolist(), of_set[first].tolist(), strict=True):
        if number != of:
            of, table = number, strings[number].split("\n")
        _, user_id, channel = table[line].split("|")
        names.append((user_id, channel))
    # Those whose next row is a user message of the same set and millisecond.
    next_row = np.minimum(first + 1, len(time_ms) - 1)
    tied = (next_row > first) & walk.is_user[next_row]
    tied &= (of_set[next_row] == of_set[first]) & (time_ms[next_row] == time_ms[first])
    for session in np.flatnonzero(tied).tolist():
        at = first[session]
        alike = walk.is_user[at:] & (time_ms[at:] == time_ms[at]) & (of_set[at:] == of_set[at])
        rivals = walk.line[at : at + (len(alike) if alike.all() else alike.argmin())].tolist()
        table = strings[of_set[at]].split("\n")
        _, user_id, channel = min(table[index].split("|") for index in rivals)
        names[session] = (user_id, channel)
    return names
