"""`quarterhour down`: stop the local parts."""

import click

from quarterhour.parts import Parts
from quarterhour.settings import load_settings


@click.command()
@click.option("--wipe", is_flag=True, help="Also delete all events, records and logs that they keep.")
def command(wipe: bool) -> None:
    """Stop the local parts.

    What they keep stays in the home folder for the next `quarterhour up`, unless --wipe is given.

    Example:

    \b
      quarterhour down --wipe
    """
    home = load_settings().home
    Parts(home).down(wipe, lambda message: click.echo(message, err=True))
    click.echo(f"the parts in {home} are down{' and their data deleted' if wipe else ''}", err=True)
