"""Blocks: a session cut on its fixed grid of bot time; each is one usage session (section 6).

This module does not decide what belongs to a session.
"""

from typing import NamedTuple

from sessionizer.clock import BotClock
from sessionizer.sessions import BOT, USER, Session


class Block(NamedTuple):
    """One usage session. The fields are those of a session record; `settles_ms` is that of its session."""

    session_started_ms: int
    block: int
    started_ms: int
    ended_ms: int
    bot_ms: int
    agent_ms: int
    user_messages: int
    bot_messages: int
    user_id: str
    channel: str
    settles_ms: int


def blocks_of(
    session: Session, clock: BotClock, block_ms: int, user_id: str, channel: str, settles_ms: int
) -> list[Block]:
    """Return the blocks of a session in order, those in which no activity lies left out."""
    session_started_ms, _, first_ms, _ = session.activity[0]
    last_ms = session.activity[-1][2]
    blocks = []
    for number, counts in _counts_by_block(session, block_ms).items():
        from_ms = first_ms + (number - 1) * block_ms
        to_ms = min(from_ms + block_ms, last_ms)
        # Of the first block, the session's start: the user's message there lies outside all spans.
        started_ms = clock.latest_wall_ms(from_ms)
        # A session that opens in the millisecond a span ends may show its end since that span began.
        ended_ms = max(clock.earliest_wall_ms(to_ms), started_ms)
        bot_ms = to_ms - from_ms
        agent_ms = ended_ms - started_ms - bot_ms
        blocks.append(
            Block(
                session_started_ms, number, started_ms, ended_ms, bot_ms, agent_ms,
                counts[USER], counts[BOT], user_id, channel, settles_ms,
            )
        )  # fmt: skip
    return blocks


def number_on_grid(elapsed_ms: int, block_ms: int) -> int:
    """Return the number of the block that holds this bot time since its session's start."""
    # The division rounded up; the first block has its own start too.
    return -(-elapsed_ms // block_ms) or 1


def _counts_by_block(session: Session, block_ms: int) -> dict[int, list[int]]:
    """Return, for each block in which activity lies, the count of each step of activity in it."""
    first_ms = session.activity[0][2]
    counts: dict[int, list[int]] = {}
    for _, step, bot_ms, _ in session.activity:
        number = number_on_grid(bot_ms - first_ms, block_ms)
        if number not in counts:
            counts[number] = [0, 0, 0]
        counts[number][step] += 1
    return counts
