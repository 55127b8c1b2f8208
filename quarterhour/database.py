"""The database as a whole: the ledger's schema and the aggregator's, in the order in which they are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from quarterhour.errors import AnswerIsNo, PartUnreachable
from sinks.ledger import Refused, Unreachable
from sinks.migrate import LEDGER, Migration, Schema, migrate, pending

INVOICING = Schema("invoicing", files("invoicing") / "migrations")
SCHEMAS = (LEDGER, INVOICING)

NEEDS_SCHEMA = "; `quarterhour migrate` makes the schema"


@contextmanager
def asking_ledger(advice: str = "") -> Iterator[None]:
    """End the command with its status when PostgreSQL does not answer or refuses; then with the advice."""
    try:
        yield
    except Unreachable as error:
        raise PartUnreachable(str(error)) from error
    except Refused as error:
        raise AnswerIsNo(f"{error}{advice}") from error


async def migrate_all(dsn: str) -> list[Migration]:
    """Apply what any schema lacks and return it. Raises `Unreachable` and `Refused`."""
    return [migration for schema in SCHEMAS for migration in await migrate(dsn, schema)]


async def pending_of_all(dsn: str) -> list[Migration]:
    """The migrations that this database lacks. Raises `Unreachable` and `Refused`."""
    return [migration for schema in SCHEMAS for migration in await pending(dsn, schema)]
