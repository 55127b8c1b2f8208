"""The bills of many conversations at once, by columns: what `bill` makes of each, for less.

For conversations in which no two facts share an identity, so that all of them are winners. The sections of
the billing rules are those of `bill`, and its order: spans, bot clocks, sessions, blocks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sessionizer.bill import Bill, bill
from sessionizer.blocks import Block
from sessionizer.facts import CLOSED, USER_MESSAGE
from sessionizer.packed import FACT, Ints, PackedFacts, indexes_of, times_of
from sessionizer.rules import RuleSet
from sessionizer.sessions import BOT, CLOSE, EDGE, STEP_OF_KIND, USER
from sessionizer.spans import Interval, Moment, merged, spans_of

_TIME_BITS: Final = 44  # up to the year 2527: rules allow no span to end later
_STEPS: Final = np.array([step for _, step in sorted(STEP_OF_KIND.items())])

Flags = NDArray[np.bool_]
_IntervalOf = tuple[int, int, int]
"""The place of a set, and where an interval of it starts and ends."""


class Bills(NamedTuple):
    """The bills of many conversations, one after another."""

    blocks: list[Block]
    counts: list[int]
    """How many blocks each has."""
    settles_ms: list[int]
    spoken_ms: list[int]
    """Of each block: the time of the user's last message before its activity; of a first one, its start."""


class Begun(NamedTuple):
    """A session that is known up to a block, and goes on in a set that begins with a message of its user."""

    session_started_ms: int
    user_id: str
    channel: str
    block: int
    """The first that is to be billed."""


@dataclass(frozen=True, slots=True)
class _Activity:
    """Activity in the order of the walk, set by set (section 5); the line is that of its fact."""

    of_set: Ints
    time_ms: Ints
    step: Ints
    bot_ms: Ints
    line: Ints


@dataclass(frozen=True, slots=True)
class _Sessions:
    """What the walk makes of activity."""

    number: Ints
    """Of the session that a row of activity belongs to, if it is a member."""
    is_member: Flags
    first: Ints
    """Of each session: the place of the user message that opens it."""
    engaged: Ints
    """Of each session: the place of its last engagement."""
    closing: Ints
    """The places of the closes that end a session."""


@dataclass(frozen=True, slots=True)
class _Openings:
    """How each session began."""

    started_ms: Ints
    bot_ms: Ints
    names: list[tuple[str, str]]
    """User and channel."""
    block: Ints
    """The first that is billed."""


class _Clocks:
    """What `BotClock` is to one set, to many: given their intervals in order."""

    def __init__(self, intervals: Sequence[_IntervalOf]) -> None:
        # Before all others one of no set, which is found where there is none before.
        of_set, start_ms, end_ms = np.array([(-1, 0, 0), *intervals], np.int64).T
        length_ms = end_ms - start_ms
        before_ms = length_ms.cumsum() - length_ms
        before_ms -= before_ms[np.searchsorted(of_set, of_set)]
        self.of_set, self.start_ms, self.end_ms = of_set, start_ms, end_ms
        self._after_ms = before_ms + length_ms
        self._shown_ms = start_ms - before_ms
        self._starts = _keys(of_set, start_ms)
        self._shown = _keys(of_set, self._shown_ms)

    def at(self, of_set: Ints, time_ms: Ints) -> tuple[Ints, Flags]:
        """The bot time of each wall time, and whether the clock stands still."""
        begun = np.searchsorted(self._starts, _keys(of_set, time_ms), "right") - 1
        is_any = self.of_set[begun] == of_set
        bot_ms = np.maximum(time_ms - self._after_ms[begun], self._shown_ms[begun])
        return np.where(is_any, bot_ms, time_ms), is_any & (time_ms < self.end_ms[begun])

    def earliest_wall_ms(self, of_set: Ints, bot_ms: Ints) -> Ints:
        """The first wall time at which the clock shows each bot time."""
        return self._wall_ms(of_set, bot_ms, np.searchsorted(self._shown, _keys(of_set, bot_ms), "left"))

    def latest_wall_ms(self, of_set: Ints, bot_ms: Ints) -> Ints:
        """The last one."""
        return self._wall_ms(of_set, bot_ms, np.searchsorted(self._shown, _keys(of_set, bot_ms), "right"))

    def _wall_ms(self, of_set: Ints, bot_ms: Ints, behind: Ints) -> Ints:
        return bot_ms + np.where(self.of_set[behind - 1] == of_set, self._after_ms[behind - 1], 0)


def bill_many(
    sets: Sequence[PackedFacts],
    rules_of: Callable[[int, int], RuleSet],
    begun: Mapping[int, Begun] = MappingProxyType({}),
) -> Bills:
    """Return the bill of each set, none of them empty and none with two facts of the same identity.

    At most 65,536 sets: a set's place, a time and a step make one int64.
    `rules_of` says which rule set is in force for a set's place and the time of its earliest fact. Times lie
    between 0 and schemas.decode.LAST_TIME_MS. A set in `begun` is what a longer one holds from the message on
    that the first block to be billed names in `Bills.spoken_ms`; no handoff came before that block.
    """
    if not sets:
        return Bills([], [], [], [])
    rows = np.frombuffer(b"".join([facts.facts for facts in sets]), FACT)
    counts = np.array([facts.revision for facts in sets])
    starts = counts.cumsum() - counts
    of_set = np.arange(len(sets)).repeat(counts)
    time_ms, kind, line = times_of(rows), rows["kind"], indexes_of(rows)
    earliest_ms = np.minimum.reduceat(time_ms, starts).tolist()
    rules = [rules_of(place, earliest) for place, earliest in enumerate(earliest_ms)]
    idle_ms = np.array([rule.idle_timeout_ms for rule in rules])
    settles_ms = np.maximum.reduceat(time_ms, starts)

    strings = [facts.strings for facts in sets]
    clocks, uncut_clocks = _clocks(of_set, time_ms, kind, line, strings, rules)
    activity = _activity(of_set, time_ms, kind, line, clocks)
    sessions = _walk(activity, idle_ms)
    if not len(sessions.first):
        return Bills([], [0] * len(sets), settles_ms.tolist(), [])
    of = activity.of_set[sessions.first]
    engaged_ms, _ = uncut_clocks.at(of, activity.time_ms[sessions.engaged])
    session_settles_ms = uncut_clocks.latest_wall_ms(of, engaged_ms + idle_ms[of])
    session_settles_ms[sessions.number[sessions.closing]] = activity.time_ms[sessions.closing]
    np.maximum.at(settles_ms, of, session_settles_ms)
    block_ms = np.array([rule.block_ms for rule in rules])
    openings = _openings(activity, sessions, strings)
    for place, (started_ms, user_id, channel, block) in begun.items():
        its_first = int(np.searchsorted(of, place))
        openings.started_ms[its_first] = openings.bot_ms[its_first] = started_ms
        openings.names[its_first] = (user_id, channel)
        openings.block[its_first] = block
    number, blocks, spoken_ms = _blocks(activity, sessions, openings, clocks, block_ms, session_settles_ms)
    counts = np.bincount(of[number], minlength=len(sets)).tolist()
    return Bills(blocks, counts, settles_ms.tolist(), spoken_ms)


def bill_each(sets: Sequence[PackedFacts], rules_of: Callable[[int, int], RuleSet]) -> list[Bill]:
    """Return the bill of each set as `bill_many` takes them, copies in conflict allowed."""
    winning = [place for place, facts in enumerate(sets) if facts.all_win]
    blocks, counts, settles_ms, _ = bill_many(
        [sets[place] for place in winning], lambda at, earliest_ms: rules_of(winning[at], earliest_ms)
    )
    ends = list(accumulate(counts, initial=0))
    found = {
        place: Bill(tuple(blocks[begin:end]), its_settles_ms)
        for place, begin, end, its_settles_ms in zip(winning, ends, ends[1:], settles_ms, strict=False)
    }
    for place, facts in enumerate(sets):
        if place not in found:
            loaded = facts.unpacked()
            found[place] = bill(loaded, rules_of(place, loaded.earliest_ms))
    return [found[place] for place in range(len(sets))]


def _clocks(
    of_set: Ints,
    time_ms: Ints,
    kind: Ints,
    line: Ints,
    strings: Sequence[str],
    rules: Sequence[RuleSet],
) -> tuple[_Clocks, _Clocks]:
    """The bot clocks, and those on which spans without an `ended` run their whole timeout (section 3)."""
    is_handoff = kind > USER_MESSAGE
    has_handoffs = np.zeros(len(strings), bool)
    has_handoffs[of_set[is_handoff]] = True
    place = np.flatnonzero(is_handoff | (has_handoffs[of_set] & (kind == CLOSED)))
    place = place[_keys(of_set[place], time_ms[place]).argsort(kind="stable")]
    intervals: list[_IntervalOf] = []
    uncut: list[_IntervalOf] = []
    columns = (column[place].tolist() for column in (of_set, time_ms, kind, line))
    for of, story in groupby(zip(*columns, strict=True), itemgetter(0)):
        table = strings[of].split("\n")
        moments = [Moment(time, its, table[index].partition("|")[0]) for _, time, its, index in story]
        spans = spans_of(moments, rules[of].handoff_timeout_ms)
        intervals += _of(of, merged((span.start_ms, span.end_ms) for span in spans))
        uncut += _of(of, merged((span.start_ms, span.latest_end_ms) for span in spans))
    return _Clocks(intervals), _Clocks(uncut)


def _of(of: int, intervals: Iterable[Interval]) -> list[_IntervalOf]:
    return [(of, start_ms, end_ms) for start_ms, end_ms in intervals]


def _activity(of_set: Ints, time_ms: Ints, kind: Ints, line: Ints, clocks: _Clocks) -> _Activity:
    """Messages outside all spans, both ends of spans, and every close, in order."""
    talk = np.flatnonzero(kind <= USER_MESSAGE)
    of_set, time_ms, step, line = of_set[talk], time_ms[talk], _STEPS[kind[talk]], line[talk]
    bot_ms = time_ms
    if len(clocks.of_set) > 1:
        bot_ms, stands_still = clocks.at(of_set, time_ms)
        kept = np.flatnonzero(~stands_still | (step == CLOSE))
        edges_of, edges_ms = clocks.of_set[1:].repeat(2), np.ravel((clocks.start_ms, clocks.end_ms), "F")[2:]
        edges_bot_ms, _ = clocks.at(edges_of, edges_ms)
        of_set = np.concatenate((of_set[kept], edges_of))
        time_ms = np.concatenate((time_ms[kept], edges_ms))
        step = np.concatenate((step[kept], np.full(len(edges_of), EDGE)))
        bot_ms = np.concatenate((bot_ms[kept], edges_bot_ms))
        line = np.concatenate((line[kept], np.zeros(len(edges_of), np.int64)))
    order = (_keys(of_set, time_ms) << 2 | step).argsort(kind="stable")
    return _Activity(of_set[order], time_ms[order], step[order], bot_ms[order], line[order])


def _walk(activity: _Activity, idle_ms: Ints) -> _Sessions:
    """Walk as `sessions_of` does, all at once.

    What may be engagement, a user message or the end of a span, is linked to what came before of it if a
    session that is open there is open still. From its first user message on, such a chain is one session.
    """
    of_set, bot_ms, step = activity.of_set, activity.bot_ms, activity.step
    place = np.arange(len(of_set))
    is_user = step == USER
    may_engage = is_user | (step == EDGE)
    before = _shifted(_latest(place, may_engage))
    counts = np.bincount(of_set, minlength=len(idle_ms))
    is_linked = (
        (before >= (counts.cumsum() - counts)[of_set])
        & (_shifted(_latest(place, step == CLOSE)) < before)
        & (bot_ms <= bot_ms[before] + idle_ms[of_set])
    )
    chain_from = _latest(place, may_engage & ~is_linked)
    belongs = is_linked & (_shifted(_latest(place, is_user)) >= chain_from)
    opens = is_user & ~belongs
    first = np.flatnonzero(opens)
    engaged = _latest(place, opens | (may_engage & belongs))
    return _Sessions(
        number=opens.cumsum() - 1,
        is_member=opens | (belongs & (step != CLOSE)),
        first=first,
        engaged=engaged[np.append(first[1:], len(place)) - 1] if len(first) else first,
        closing=np.flatnonzero(belongs & (step == CLOSE)),
    )


def _blocks(
    activity: _Activity,
    sessions: _Sessions,
    openings: _Openings,
    clocks: _Clocks,
    block_ms: Ints,
    settles_ms: Ints,
) -> tuple[Ints, list[Block], list[int]]:
    """The number of each block's session, all blocks in order, and `Bills.spoken_ms`."""
    member = np.flatnonzero(sessions.is_member)
    of, bot_ms, step = sessions.number[member], activity.bot_ms[member], activity.step[member]
    is_last = np.append(of[1:] != of[:-1], True)
    last_ms = bot_ms[is_last]
    of_set = activity.of_set[sessions.first]
    first_ms, length_ms = openings.bot_ms, block_ms[of_set]
    # The division rounded up; the first block has its own start too.
    block = np.maximum(-((first_ms[of] - bot_ms) // length_ms[of]), 1)
    begins = np.flatnonzero(np.append(True, is_last[:-1] | (block[1:] != block[:-1])))
    users, bots = (np.add.reduceat((step == its).astype(np.int64), begins) for its in (USER, BOT))
    is_asked = block[begins] >= openings.block[of[begins]]
    begins, users, bots = begins[is_asked], users[is_asked], bots[is_asked]
    of, block = of[begins], block[begins]
    from_ms = first_ms[of] + (block - 1) * length_ms[of]
    to_ms = np.minimum(from_ms + length_ms[of], last_ms[of])
    started_ms = clocks.latest_wall_ms(of_set[of], from_ms)
    # A session that opens in the millisecond a span ends may show its end since that span began.
    ended_ms = np.maximum(clocks.earliest_wall_ms(of_set[of], to_ms), started_ms)
    its_bot_ms = to_ms - from_ms
    spoken = _latest(np.arange(len(activity.step)), activity.step == USER)
    spoken = np.where(block == 1, spoken[member[begins]], spoken[member[begins] - 1])
    columns = (
        *(
            openings.started_ms[of],
            block,
            started_ms,
            ended_ms,
            its_bot_ms,
            ended_ms - started_ms - its_bot_ms,
        ),
        *(users, bots),
    )
    names = [openings.names[session] for session in of.tolist()]
    user_ids, channels = zip(*names, strict=True) if names else ((), ())
    rows = zip(
        *(column.tolist() for column in columns), user_ids, channels, settles_ms[of].tolist(), strict=True
    )
    return of, list(map(Block._make, rows)), activity.time_ms[spoken].tolist()


def _openings(activity: _Activity, sessions: _Sessions, strings: Sequence[str]) -> _Openings:
    """With user and channel of each session's first user message; in one millisecond, the smaller."""
    first, of_set, time_ms = sessions.first, activity.of_set, activity.time_ms
    names = []
    of, table = -1, [""]
    for line, its_set in zip(activity.line[first].tolist(), of_set[first].tolist(), strict=True):
        if its_set != of:
            of, table = its_set, strings[its_set].split("\n")
        _, user_id, channel = table[line].split("|")
        names.append((user_id, channel))
    # Those whose next row is a user message of the same set and millisecond.
    is_user = activity.step == USER
    next_row = np.minimum(first + 1, len(time_ms) - 1)
    tied = (next_row > first) & is_user[next_row]
    tied &= (of_set[next_row] == of_set[first]) & (time_ms[next_row] == time_ms[first])
    for session in np.flatnonzero(tied).tolist():
        at = first[session]
        alike = is_user[at:] & (time_ms[at:] == time_ms[at]) & (of_set[at:] == of_set[at])
        rivals = activity.line[at : at + (len(alike) if alike.all() else alike.argmin())].tolist()
        table = strings[of_set[at]].split("\n")
        _, user_id, channel = min(table[index].split("|") for index in rivals)
        names[session] = (user_id, channel)
    return _Openings(time_ms[first], activity.bot_ms[first], names, np.ones(len(first), np.int64))


def _keys(of_set: Ints, time_ms: Ints) -> Ints:
    """Numbers in the order of set and time."""
    return of_set << _TIME_BITS | time_ms


def _latest(place: Ints, holds: Flags) -> Ints:
    """For each place the last one, itself included, at which something holds; -1 if none."""
    latest: Ints = np.maximum.accumulate(np.where(holds, place, -1))
    return latest


def _shifted(places: Ints) -> Ints:
    """For each place what was so before it; -1 for the first."""
    return np.append(-1, places)[:-1]
