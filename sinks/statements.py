"""The named SQL of this folder: one statement a file under `sql/`, read once."""

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The statement in `sql/<name>.sql`."""
    return (files("sinks") / "sql" / f"{name}.sql").read_text("utf-8")
