"""Makes peers runnable: their packages are pinned beside them and kept outside of the product's .venv.

Each kind of peer has a folder of its own, named by a hash of what it is made from and made once.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from quarterhour.parts.errors import PartMissing

HERE = Path(__file__).parent
JAVA = HERE / "java"
DONE = "done"
ERROR_LINES = 15


def python_of(requirements: str, home: Path) -> Path:
    """The interpreter of a virtual environment with these requirements, `peers/NAME.txt`."""
    listed = HERE / f"{requirements}.txt"

    def make(folder: Path) -> None:
        uv = (sys.executable, "-m", "uv")
        _run(f"the Python packages of {listed.name}", [*uv, "venv", "--python", sys.executable, str(folder)])
        python = ("--python", str(folder / "bin" / "python"))
        _run(
            f"the Python packages of {listed.name}",
            [*uv, "pip", "install", *python, "--require-hashes", "-r", str(listed)],
        )

    return _made(requirements, [listed], home, make) / "bin" / "python"


def class_path_of(module: str, home: Path) -> str:
    """Java's class path of a module of `peers/java`."""

    def make(folder: Path) -> None:
        maven = ["mvn", "--quiet", "--batch-mode", f"-Dbuild.folder={folder}", "package"]
        _run("the peers written in Java", maven, JAVA)

    for program, package in (("javac", "a JDK, 17 or later"), ("mvn", "Apache Maven")):
        if shutil.which(program) is None:
            raise PartMissing(
                f"`{program}` is not on the PATH: the peers written in Java need {package}, "
                "on Debian `apt-get install openjdk-17-jdk-headless maven`"
            )
    sources = [path for path in sorted(JAVA.rglob("*")) if path.suffix in (".java", ".xml")]
    return str(_made("java", sources, home, make) / module / "*")


def _made(name: str, sources: Iterable[Path], home: Path, make: Callable[[Path], None]) -> Path:
    """The folder made from these files; it is made anew if that was not finished."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    folder = home.absolute() / "peers" / f"{name}-{digest}"
    if not (folder / DONE).exists():
        print(f"making {folder}, once", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        (folder / DONE).touch()
    return folder


def _run(what: str, command: Sequence[str], folder: Path = HERE) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-ERROR_LINES:]
        raise PartMissing("\n".join([f"{what} cannot be got; `{command[0]}` says:", *lines]))
