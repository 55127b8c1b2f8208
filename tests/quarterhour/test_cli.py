"""The command line's frame: which commands there are, what their help says, and how they end."""

import pkgutil
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

import quarterhour.commands
from quarterhour.cli import COMMANDS, LazyGroup, main
from quarterhour.errors import AnswerIsNo, PartUnreachable, QuarterhourError, WrongInput, WrongSetting

OFFERED = main.list_commands(click.Context(main))
HEAVY = ("aiokafka", "asyncpg", "faust", "pydantic", "rich", "structlog")


def test_the_commands_stand_in_the_order_of_the_interface() -> None:
    assert [name for name in COMMANDS if name in OFFERED] == OFFERED
    assert {"up", "traffic", "publish", "worker", "validate", "sessionize", "settings"} <= set(OFFERED)


def test_every_module_of_a_command_is_offered() -> None:
    modules = {module.name for module in pkgutil.iter_modules(quarterhour.commands.__path__)}
    assert modules == {name.replace("-", "_") for name in OFFERED}


def test_help_lists_the_commands_without_importing_them() -> None:
    program = (
        "import sys; from quarterhour.cli import main; main(['--help'], standalone_mode=False); "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    *text, imported = run.stdout.decode().splitlines()
    assert imported == "[]"
    assert all(any(line.split()[:1] == [name] for line in text) for name in OFFERED)


@pytest.mark.parametrize("name", OFFERED)
def test_the_help_of_a_command_says_what_it_does_and_gives_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    text = result.stdout
    assert result.exit_code == 0
    assert COMMANDS[name] in " ".join(text.split())
    example = text.partition("Example:")[2].splitlines()[2]
    assert example.startswith("    ") and f"quarterhour {name}" in example
    command = main.get_command(click.Context(main), name)
    assert command
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


SUBCOMMANDS = [
    (name, inner)
    for name in OFFERED
    for inner in getattr(main.get_command(click.Context(main), name), "commands", ())
]


@pytest.mark.parametrize(("name", "inner"), SUBCOMMANDS)
def test_the_help_of_a_command_in_a_group_gives_an_example_too(name: str, inner: str) -> None:
    result = CliRunner().invoke(main, [name, inner, "--help"])
    example = result.stdout.partition("Example:")[2].splitlines()[2]
    assert result.exit_code == 0 and f"quarterhour {name} {inner}" in example
    group = main.get_command(click.Context(main), name)
    assert isinstance(group, click.Group)
    for option in group.commands[inner].params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AnswerIsNo("bills differ"), 1, "answer_is_no"),
        (WrongSetting("bills differ"), 2, "wrong_setting"),
        (WrongInput("bills differ"), 2, "wrong_input"),
        (PartUnreachable("bills differ"), 3, "part_unreachable"),
        (PartUnreachable("bills differ", code="missing_topic"), 3, "missing_topic"),
        (QuarterhourError("bills differ", code="fenced", exit_status=75), 75, "fenced"),
    ],
)
def test_a_known_error_is_one_line_and_its_exit_status(error: Any, status: int, code: str) -> None:
    def fail() -> None:
        raise error

    class Failing(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command(cmd_name, callback=fail)

    result = CliRunner().invoke(Failing(), ["settings"])
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr == f"quarterhour: {code}: bills differ\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["settings", "--no-such-option"], []])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    program = f"{sys.executable} -m quarterhour traffic --events 100000 --seed 1 | head -n 1"
    run = subprocess.run(program, shell=True, capture_output=True, check=True, timeout=60)
    assert run.stdout.count(b"\n") == 1
    assert run.stderr == b""


def test_the_version_is_told() -> None:
    assert "quarterhour" in CliRunner().invoke(main, ["--version"]).stdout
