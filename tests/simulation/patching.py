"""Known bugs, planted as patches into a copy of the product: the simulation must find each of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("quarterhour", "schemas", "sessionizer", "sinks", "streams", "tests")
FOLDER = Path(__file__).parent / "patches"
PATCHES = tuple(sorted(path.stem for path in FOLDER.glob("*.patch")))


class PatchDoesNotApply(Exception):
    """The product has changed where a patch plants its bug: make the patch anew."""


@dataclass(frozen=True)
class Finding:
    """The first seed that showed a planted bug, and how."""

    patch: str
    seed: int
    violation: str


def find(patch: str, seeds: range) -> Finding | None:
    """Play seeds on a product with this bug, up to the first that shows it; None if none does."""
    with _patched(patch) as tree:
        command = ("-m", "tests.simulation.hunt", str(seeds.start), str(seeds.stop))
        found = json.loads(_python(tree, command, capture=True).stdout)
    return Finding(patch, found["seed"], found["violation"]) if found else None


def run_patched(patch: str, arguments: Sequence[str]) -> int:
    """Run the command on a product with this bug; return its status."""
    with _patched(patch) as tree:
        return _python(tree, ("-m", "tests.simulation", *arguments), capture=False).returncode


@contextmanager
def _patched(patch: str) -> Iterator[Path]:
    """A copy of the product with a bug in it."""
    with TemporaryDirectory(prefix="quarterhour-patched-") as folder:
        tree = Path(folder)
        for name in COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        applied = subprocess.run(
            ("git", "apply", str(FOLDER / f"{patch}.patch")),
            cwd=tree,
            # Else git takes the copy for a part of a repository around it, and applies nothing.
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if applied.returncode:
            raise PatchDoesNotApply(f"{patch}: {applied.stderr.strip()}")
        yield tree


def _python(tree: Path, command: Sequence[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    """Run Python in a tree, so that it imports from there."""
    output = subprocess.PIPE if capture else None
    return subprocess.run((sys.executable, *command), cwd=tree, stdout=output, text=True, check=capture)
