"""Reading the stream's change feed into the aggregator's own records and counts."""

from __future__ import annotations

from invoicing.store.connecting import Connection, Store, fetch_row, fetch_value

BATCH = 20_000


async def read_feed(store: Store, batch: int = BATCH) -> int:
    """Read all changes there are now, a transaction a batch; return how far. Safe for any number at once."""
    while True:
        async with store.transaction() as connection:
            position: int = await fetch_value(connection, "lock_feed")
            row = await fetch_row(connection, "read_feed", position, batch)
        if row is None:
            return position


async def hold_feed(connection: Connection) -> int:
    """Keep everybody from reading on until the transaction ends; return how far the feed is read."""
    position: int = await fetch_value(connection, "hold_feed")
    return position
