"""The command line: imports only the command that is asked for, and turns errors into exit statuses.

Exit status: 0 done; 1 the answer is no; 2 wrong usage; 3 a part it needs is unreachable. This is the one
place that catches known errors: each becomes one clear line on standard error.
"""

import importlib
import os
import sys
from importlib.util import find_spec
from typing import Any

import click

from quarterhour.errors import QuarterhourError

# numpy starts threads for linear algebra as it is imported; nothing here uses that.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# In the order of the published interface. A command is offered once its module exists; the module's own
# help begins with the same sentence (a test compares), so that this list needs no import.
COMMANDS = {
    "up": "Start the local parts (Kafka and PostgreSQL).",
    "down": "Stop the local parts.",
    "status": "Show the local parts, their end points, lag and records.",
    "demo": "Run the main job on generated traffic and check the result.",
    "migrate": "Bring the database schema to this version.",
    "worker": "Run one stream worker.",
    "positions": "Show where the ledger stands in Kafka's logs.",
    "repartition": "Go on after partitions were added to the source topics.",
    "publish": "Publish events from a file to their topics.",
    "dead-letters": "List, show, mend, replay and discard dead letters.",
    "traffic": "Generate realistic events.",
    "validate": "Check every event of a file against the contract.",
    "sessionize": "Compute the session records of a file of events.",
    "records": "List session records from the contract view.",
    "explain": "Explain one session record: what it is made of, and why.",
    "reconcile": "Hold the ledger against itself and against Kafka.",
    "recompute": "Show what this version of the rule changes of bills, and have it done.",
    "catalogue": "Apply and show the catalogue of plans.",
    "accounts": "Set and list accounts, and show their history.",
    "subscriptions": "List subscriptions of bots, and change them.",
    "usage": "Show what an account's bots have used of their current period.",
    "invoices": "Run the invoice aggregator; list, show, download and settle invoices.",
    "rules": "List and add the rule sets that decide bills.",
    "settings": "Print every setting, its value and where it came from.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run, not when they are listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands that exist, in the order of the interface."""
        return [name for name in COMMANDS if find_spec(_module_of(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(_module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a known error becomes one line and an exit status."""
        try:
            return super().invoke(ctx)
        except QuarterhourError as error:
            click.echo(f"quarterhour: {error.code}: {error}", err=True)
            sys.exit(error.exit_status)


def _module_of(name: str) -> str:
    return f"quarterhour.commands.{name.replace('-', '_')}"


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="quarterhour", prog_name="quarterhour")
def main() -> None:
    """Quarterhour: billable sessions from chatbot conversations.

    Settings come from QUARTERHOUR_* variables or a TOML file: see `quarterhour settings`.
    Exit status: 0 done, 1 the answer is no, 2 wrong usage, 3 a part it needs is unreachable.

    Example:

    \b
      quarterhour traffic --events 1000 --seed 1 | quarterhour sessionize -
    """
