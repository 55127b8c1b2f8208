"""`quarterhour settings`: every setting, its value, and where that came from."""

import click

from quarterhour.output import emit, format_option
from quarterhour.settings import describe, load_settings


@click.command()
@format_option
def command(output_format: str) -> None:
    """Print every setting, its value and where it came from.

    Durations are a whole number and a unit: ms, s, min, h or d. Secrets are hidden. In a TOML file a
    setting has its name in lower case, without QUARTERHOUR_.

    Example:

    \b
      QUARTERHOUR_ALLOWED_LATENESS=30min quarterhour settings
    """
    rows = [row._asdict() for row in describe(load_settings())]
    emit(output_format, rows, ["name", "value", "origin", "description"])
