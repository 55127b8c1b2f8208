"""Sealing: up to which moment the facts of a conversation may be deleted, and what of them stays.

At such a moment the bill falls in two: bill(all) = bill(sealed part) + bill(rest), under the rule set of the
conversation's first fact and whatever later facts are added to the rest. One thing is given up: an event that
comes again with a sealed one's identity and another, later time is no longer known as a copy.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from sessionizer.bill import walk
from sessionizer.facts import FactSet
from sessionizer.packed import FACT, Rows, indexes_of, pack, times_of
from sessionizer.rules import RuleSet
from sessionizer.spans import Interval, merged, moments_of, spans_of

_NEVER_MS: Final = 1 << 62


def seal_at(facts: FactSet, rules: RuleSet, horizon_ms: int) -> int | None:
    """Return the newest moment, at most the horizon, up to which a set of at least one fact can be sealed.

    None if no fact is as old as that. No session that starts up to then settles after it, no handoff is open
    then, and no identity has copies on both sides of it.
    """
    joined = [*_sessions(facts, rules), *_handoffs(facts), *_copies(facts)]
    begun = merged(interval for interval in joined if interval[0] <= horizon_ms)
    through_ms = horizon_ms
    if begun and begun[-1][1] > horizon_ms:
        through_ms = begun[-1][0] - 1
    return through_ms if facts.earliest_ms <= through_ms else None


def split_at(facts: FactSet, through_ms: int) -> tuple[int, bytes, str]:
    """Return how many facts are sealed at a moment, and the stored form of the rest: facts and strings."""
    rows = _rows(facts)
    rest = rows[times_of(rows) > through_ms]
    used, indexes = np.unique(indexes_of(rest), return_inverse=True)
    lines = facts.lines()
    stored = pack(times_of(rest), rest["kind"], rest["identity"], indexes)
    return len(rows) - len(rest), stored.tobytes(), "".join([f"{lines[index]}\n" for index in used.tolist()])


def _sessions(facts: FactSet, rules: RuleSet) -> Iterator[Interval]:
    """From the start of each session until it settles."""
    for session, _, settles_ms in walk(facts, rules)[1]:
        yield session.activity[0][0], settles_ms


def _handoffs(facts: FactSet) -> Iterator[Interval]:
    """From a `started` to the `ended` that closes it, however late that comes, even if its span ran out."""
    for span in spans_of(moments_of(facts), _NEVER_MS):
        yield span.start_ms, span.latest_end_ms


def _copies(facts: FactSet) -> Iterator[Interval]:
    """From the first to the last of the copies in conflict of an event."""
    if facts.revision == len(facts.winners()):
        return
    rows = _rows(facts)
    order = np.lexsort((times_of(rows), rows["identity"]))
    identities, times_ms = rows["identity"][order], times_of(rows)[order].tolist()
    for place in np.flatnonzero(identities[1:] == identities[:-1]).tolist():
        yield times_ms[place], times_ms[place + 1]


def _rows(facts: FactSet) -> Rows:
    """All facts, losing copies included."""
    whole = FactSet()
    whole.merge(facts)
    return np.frombuffer(whole.take_chunk()[0], FACT)
