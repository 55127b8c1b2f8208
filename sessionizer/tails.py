"""The last blocks of a long conversation, to which its next bill can be confined.

If no handoff came before a block begins, no fact that is later than that changes a block before it. So what
follows is billed as a set of its own, from the last message of the user on that shows the session open there.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.times import MINUTE_MS
from sessionizer.bills import Begun
from sessionizer.blocks import Block
from sessionizer.facts import USER_MESSAGE
from sessionizer.packed import PackedFacts, times_of

LONG_FACTS: Final = 256
"""Conversations of fewer are billed as a whole."""
# Few facts come so much later than the newest: those that come before a tail have all of it billed again.
_DISORDER_MS: Final = 10 * MINUTE_MS


class Tail(NamedTuple):
    """Where the next bill of a conversation may begin."""

    from_ms: int
    """What is later is billed again."""
    spoken_ms: int
    """The time of the last message of the user before it, or of the one that begins it."""
    place: int
    """Neither that message nor any later one is stored before this place."""
    earliest_ms: int
    """The time of the conversation's first fact."""
    begun: Begun
    blocks: int
    """How many came before."""

    def holds(self, facts: PackedFacts) -> bool:
        """Whether all that was added to these facts since the last bill changes the tail alone."""
        return facts.all_win and bool((times_of(facts.unsaved) > self.from_ms).all())

    def is_open(self, blocks: Sequence[Block], settled_before_ms: int) -> bool:
        """Whether the session that went on where these blocks of the tail begin does so still."""
        return (
            len(blocks) > 0
            and blocks[0].session_started_ms == self.begun.session_started_ms
            and blocks[0].settles_ms >= settled_before_ms
        )


def tail_of(
    facts: PackedFacts,
    blocks: Sequence[Block],
    spoken_ms: Sequence[int],
    settled_before_ms: int,
    before: Tail | None,
) -> Tail | None:
    """Return the tail of a conversation that was billed, as a whole or from the tail before, if it has one.

    A tail never begins in a session that settles before `settled_before_ms`.
    """
    if facts.revision < LONG_FACTS or not facts.all_win:
        return None
    possible = [at for at, block in enumerate(blocks) if block.settles_ms >= settled_before_ms]
    if not possible:
        return None
    recent_ms = blocks[-1].ended_ms - _DISORDER_MS
    at = max((at for at in possible if blocks[at].started_ms < recent_ms), default=possible[0])
    first = blocks[at]
    skipped = before.place if before else 0
    rows = facts.rows(skipped)
    time_ms = times_of(rows)
    if (rows["kind"][time_ms <= first.started_ms] > USER_MESSAGE).any():
        return before
    return Tail(
        first.started_ms,
        spoken_ms[at],
        place=skipped + int((time_ms >= spoken_ms[at]).argmax()),
        earliest_ms=before.earliest_ms if before else int(time_ms.min()),
        begun=Begun(first.session_started_ms, first.user_id, first.channel, first.block),
        blocks=(before.blocks if before else 0) + at,
    )
