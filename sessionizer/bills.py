"""The bills of many plain conversations at once, by columns: what `bill` makes of each, for less.

Plain is a conversation of messages and closes only, no two of which share an identity: its bot clock is the
wall clock, and all its facts are winners. The sections of the billing rules are those of `bill`.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sessionizer.bill import Bill
from sessionizer.blocks import Block
from sessionizer.facts import USER_MESSAGE
from sessionizer.packed import FACT, Ints, PackedFacts, indexes_of, times_of
from sessionizer.rules import RuleSet

MOST_CONVERSATIONS: Final = 1 << 16
"""In one call: an activity's conversation, time and step are sorted as one int64."""

# In the order of one millisecond, as in sessionizer.sessions; the end of a span does not occur.
_USER, _BOT, _CLOSE = range(3)


def bill_plain(sets: Sequence[PackedFacts], rules_of: Callable[[int, int], RuleSet]) -> list[Bill]:
    """Return the bill of each set, all of them plain and none empty.

    `rules_of` says which rule set is in force for a set's place and the time of its earliest fact. Times lie
    between 0 and schemas.decode.LAST_TIME_MS.
    """
    lines = [facts.strings for facts in sets]
    rows = np.frombuffer(b"".join([facts.facts for facts in sets]), FACT)
    counts = np.array([facts.revision for facts in sets])
    starts = counts.cumsum() - counts
    conversation = np.arange(len(sets)).repeat(counts)
    time_ms, step = times_of(rows), USER_MESSAGE - rows["kind"].astype(np.int64)
    earliest_ms = np.minimum.reduceat(time_ms, starts).tolist()
    rules = [rules_of(place, earliest) for place, earliest in enumerate(earliest_ms)]
    idle_ms = np.array([rule.idle_timeout_ms for rule in rules])
    block_ms = np.array([rule.block_ms for rule in rules])
    settles_ms = np.maximum.reduceat(time_ms, starts)

    # The walk (section 5): sorting leaves each conversation's rows where they were.
    order = (conversation << 46 | time_ms << 2 | step).argsort(kind="stable")
    time_ms, step, line = time_ms[order], step[order], indexes_of(rows)[order]
    place = np.arange(len(order))
    is_user = step == _USER
    last_user = np.maximum.accumulate(np.where(is_user, place, -1))
    user_before = _shifted(last_user)
    close_before = _shifted(np.maximum.accumulate(np.where(step == _CLOSE, place, -1)))
    belongs = (
        (user_before >= starts[conversation])
        & (close_before < user_before)
        & (time_ms <= time_ms[user_before] + idle_ms[conversation])
    )
    first = np.flatnonzero(is_user & ~belongs)
    if not len(first):
        return [Bill((), newest_ms) for newest_ms in settles_ms.tolist()]
    session = np.cumsum(is_user & ~belongs) - 1
    session_conversation = conversation[first]
    # Rows between a session's first and the next one's hold no user message but its own.
    last_user_of_session = last_user[np.append(first[1:], len(place)) - 1]
    session_settles_ms = time_ms[last_user_of_session] + idle_ms[session_conversation]
    closing = np.flatnonzero(belongs & (step == _CLOSE))
    session_settles_ms[session[closing]] = time_ms[closing]
    np.maximum.at(settles_ms, session_conversation, session_settles_ms)

    # The grid (section 6).
    member = np.flatnonzero(is_user | (belongs & (step == _BOT)))
    of = session[member]
    last_ms = time_ms[member[np.append(np.flatnonzero(of[1:] != of[:-1]), len(member) - 1)]]
    length_ms = block_ms[conversation[member]]
    number = np.maximum(-((time_ms[first[of]] - time_ms[member]) // length_ms), 1)
    begins = np.flatnonzero(np.append(True, (of[1:] != of[:-1]) | (number[1:] != number[:-1])))
    users = np.add.reduceat(is_user[member].astype(np.int64), begins)
    messages = np.diff(np.append(begins, len(member)))
    of, number, length_ms = of[begins], number[begins], length_ms[begins]
    session_started_ms = time_ms[first[of]]
    started_ms = session_started_ms + (number - 1) * length_ms
    ended_ms = np.minimum(started_ms + length_ms, last_ms[of])
    names = _names(first, time_ms, is_user, line, conversation, lines)
    blocks = [
        Block(session_started, block, started, ended, bot, 0, user, bots, user_id, channel, settles)
        for session_started, block, started, ended, bot, user, bots, (user_id, channel), settles in zip(
            session_started_ms.tolist(),
            number.tolist(),
            started_ms.tolist(),
            ended_ms.tolist(),
            (ended_ms - started_ms).tolist(),
            users.tolist(),
            (messages - users).tolist(),
            [names[place] for place in of.tolist()],
            session_settles_ms[of].tolist(),
            strict=True,
        )
    ]
    ends = np.bincount(session_conversation[of], minlength=len(sets)).cumsum().tolist()
    return [
        Bill(tuple(blocks[begin:end]), settles)
        for begin, end, settles in zip([0, *ends], ends, settles_ms.tolist(), strict=False)
    ]


def _shifted(places: Ints) -> Ints:
    """For each place what was so before it; -1 for the first."""
    return np.append(-1, places[:-1])


def _names(
    first: Ints,
    time_ms: Ints,
    is_user: NDArray[np.bool_],
    line: Ints,
    conversation: Ints,
    lines: Sequence[str],
) -> list[tuple[str, str]]:
    """User and channel of each session's first user message; in one millisecond, the smaller."""
    names = []
    of, table = -1, [""]
    for at, number in zip(first.tolist(), conversation[first].tolist(), strict=True):
        if number != of:
            of, table = number, lines[number].split("\n")
        _, user_id, channel = table[line[at]].split("|")
        names.append((user_id, channel))
    # Rows at a session's start, which another user message shares.
    following = np.minimum(first + 1, len(time_ms) - 1)
    rivalled = (
        (following > first)
        & is_user[following]
        & (conversation[following] == conversation[first])
        & (time_ms[following] == time_ms[first])
    )
    for session in np.flatnonzero(rivalled).tolist():
        at = first[session]
        alike = is_user[at:] & (time_ms[at:] == time_ms[at]) & (conversation[at:] == conversation[at])
        rivals = line[at : at + (len(alike) if alike.all() else alike.argmin())].tolist()
        table = lines[conversation[at]].split("\n")
        _, user_id, channel = min(table[index].split("|") for index in rivals)
        names[session] = (user_id, channel)
    return names
