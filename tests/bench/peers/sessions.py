"""The job of the peers written in Python: which session a message belongs to, and the row of a session.

`opened_ms`, the time of the message that a session was opened with, tells the sessions of a conversation
apart; a session's start may move before it.
"""

IDLE_MS = BLOCK_MS = 900_000
UPSERT = """
insert into session (conversation, opened_ms, started_ms, ended_ms, messages, blocks)
select * from unnest({}::text[], {}::bigint[], {}::bigint[], {}::bigint[], {}::int[], {}::int[])
on conflict (conversation, opened_ms) do update
set started_ms = excluded.started_ms, ended_ms = excluded.ended_ms, messages = excluded.messages,
    blocks = excluded.blocks
"""

Session = list[int]
"""opened_ms, started_ms, ended_ms and messages: a list, so that any store can keep it."""
Row = tuple[str, int, int, int, int, int]


def add(sessions: list[Session], time_ms: int) -> list[Session]:
    """Take in a message of a conversation; returns the sessions it changed.

    Of two that a late message makes one, the later is left with no messages.
    """
    found = [session for session in sessions if _takes(session, time_ms)]
    if not found:
        found = [[time_ms, time_ms, time_ms, 0]]
        sessions += found
    first, *absorbed = found
    for other in absorbed:
        _grow(first, other[1], other[2], other[3])
        other[3] = 0
    _grow(first, time_ms, time_ms, 1)
    return found


def row(conversation: str, session: Session) -> Row:
    """The columns of UPSERT."""
    opened_ms, started_ms, ended_ms, messages = session
    blocks = max(1, -((started_ms - ended_ms) // BLOCK_MS))
    return conversation, opened_ms, started_ms, ended_ms, messages, blocks


def _takes(session: Session, time_ms: int) -> bool:
    _, started_ms, ended_ms, messages = session
    return messages > 0 and started_ms - IDLE_MS <= time_ms <= ended_ms + IDLE_MS


def _grow(session: Session, started_ms: int, ended_ms: int, messages: int) -> None:
    session[1] = min(session[1], started_ms)
    session[2] = max(session[2], ended_ms)
    session[3] += messages
