"""The database as a whole: the ledger's schema and the aggregator's, in the order in which they are made."""

from importlib.resources import files

from sinks.migrate import LEDGER, Migration, Schema, migrate, pending

INVOICING = Schema("invoicing", files("invoicing") / "migrations")
SCHEMAS = (LEDGER, INVOICING)


async def migrate_all(dsn: str) -> list[Migration]:
    """Apply what any schema lacks and return it. Raises `Unreachable` and `Refused`."""
    return [migration for schema in SCHEMAS for migration in await migrate(dsn, schema)]


async def pending_of_all(dsn: str) -> list[Migration]:
    """The migrations that this database lacks. Raises `Unreachable` and `Refused`."""
    return [migration for schema in SCHEMAS for migration in await pending(dsn, schema)]
