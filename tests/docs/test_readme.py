"""The README's commands, run as written, and the folders it promises."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quarterhour.parts import Parts

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
LONGEST_FOLDER_README_LINES = 70
FOLDERS = ("deploy", "invoicing", "quarterhour", "schemas", "sessionizer", "sinks", "streams", "tests")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    Parts(tmp_path / "home").down(wipe=True)


def commands() -> list[str]:
    """The lines of the README's shell blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_every_command_of_the_readme_ends_with_status_0(home: Path) -> None:
    assert commands()[0] == "make demo"
    environment = {**os.environ, "QUARTERHOUR_HOME": str(home)}
    for command in commands():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        if command == "make demo":
            assert re.search(r'ledger equals the reference"?:?\s*"?yes', done.stdout + done.stderr)
            assert "Three commands to try next" in done.stdout or '"events":200000' in done.stdout


def test_every_top_level_folder_says_on_one_screen_what_it_is_for() -> None:
    for folder in FOLDERS:
        text = (ROOT / folder / "README.md").read_text()
        assert len(text.splitlines()) <= LONGEST_FOLDER_README_LINES, folder
        assert "import" in text and "nvariant" in text, f"{folder}: what it may import, its invariants"


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {line.split("/")[0] for line in tracked.splitlines()}
    files = {
        *("README.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock"),
        *(".gitignore", ".ci"),
    }
    assert found == files | set(FOLDERS)


def test_the_lock_has_hashes_and_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--index" not in lock
    packages = re.findall(r"^[a-z0-9-]+==", lock, re.MULTILINE)
    assert len(packages) > 50
    assert len(re.findall(r"--hash=sha256:", lock)) >= len(packages)


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target
