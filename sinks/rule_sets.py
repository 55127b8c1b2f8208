"""Rule sets in the ledger: rows are added, never changed, and never effective in the past.

An operator's act, under the operator's own login. A running worker meets it at its next checkpoint, which is
refused (`Fenced`): it starts again, and with it the rules it goes by.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from sinks.connecting import Role, acting_as_login, connect, connecting
from sinks.ledger import Refused
from sinks.statements import statement

_COLUMNS = ("account_id", "bot_id", "effective_ms", "block_ms", "idle_timeout_ms", "handoff_timeout_ms")


async def list_rule_sets(dsn: str) -> list[dict[str, Any]]:
    """All rule sets, as rows of `billing.rule_set`. Raises `Unreachable` and `Refused`."""
    connection = await connect(dsn, Role.WORKER)
    try:
        with connecting():
            return [dict(row) for row in await connection.fetch(statement("rule_sets"))]
    finally:
        await connection.close()


async def add_rule_set(dsn: str, row: dict[str, Any], lead_ms: int) -> bool:
    """Add a rule set that is effective in `lead_ms` or later; return False if this very one is there.

    Raises `Refused` for one that is effective too soon, or where another is from that time on; `Unreachable`.
    """
    async with acting_as_login(dsn) as connection:
        return await _add(connection, row, lead_ms)


async def _add(connection: asyncpg.Connection, row: dict[str, Any], lead_ms: int) -> bool:
    known = {_scope(found): dict(found) for found in await connection.fetch(statement("rule_sets"))}
    if (there := known.get(_scope(row))) is not None:
        if there == row:
            return False
        raise Refused("another rule set is effective from that time on for the same bots: it stays")
    added = await connection.fetchval(
        statement("add_rule_set"), *(row[column] for column in _COLUMNS), lead_ms
    )
    if added is None:
        raise Refused(
            f"a rule set must be effective {lead_ms // 1000} s from now or later: "
            "what was billed by the rules of its time stays so"
        )
    return True


def _scope(row: Any) -> tuple[Any, ...]:
    return row["account_id"], row["bot_id"], row["effective_ms"]
