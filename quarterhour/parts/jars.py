"""The jars of Apache Kafka: which they are, their sha256, and where they are kept.

`kafka-jars.txt` beside this module lists every jar. They are downloaded once per user, by jgo, into
`$XDG_CACHE_HOME/quarterhour` (else `~/.cache/quarterhour`), which all homes share; a jar gets its final name
only when its hash is that of the list, and every start compares the hashes again. Deleting the folder is
harmless: the next start downloads. `python -m quarterhour.parts.jars` prints the list anew after a change of
KAFKA. This module starts no process.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from quarterhour.parts.errors import PartMissing, not_installed

if TYPE_CHECKING:
    from jgo.maven import Artifact

KAFKA_VERSION = "4.4.0"
# slf4j-simple in the version of the slf4j-api that Kafka itself ships.
KAFKA = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
LIST = Path(__file__).with_name("kafka-jars.txt")
ATTEMPTS = 3
PARALLEL_DOWNLOADS = 8
TIMEOUT_S = 15


class Jar(NamedTuple):
    """One line of the list: a jar by its coordinates, and the hash of the file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """The name it has in a Maven repository, and in our cache."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def kafka_jars() -> list[Jar]:
    """The committed list."""
    lines = (line.split() for line in LIST.read_text().splitlines() if not line.startswith("#"))
    return [Jar(sha256, *coordinates.split(":")) for sha256, coordinates in lines]


def cache_folder() -> Path:
    """Where a user's jars are kept, for all homes."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "quarterhour"


def class_path(report: Callable[[str], None], folder: Path | None = None) -> str:
    """Java's class path of verified jars; downloads what is missing or damaged, else needs no network."""
    folder = folder or cache_folder() / f"kafka-{KAFKA_VERSION}"
    jars = kafka_jars()
    missing = [jar for jar in jars if not _is_intact(folder / jar.file_name, jar)]
    if missing:
        report(f"Kafka {KAFKA_VERSION}: downloading {len(missing)} of {len(jars)} jars, once, to {folder}")
        _download(missing, folder)
    return os.pathsep.join(str(folder / jar.file_name) for jar in jars)


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        return _sha256(path) == jar.sha256
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(jars: list[Jar], folder: Path) -> None:
    """Fetch all jars; what arrived before a failure is kept for the next attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = TemporaryDirectory(dir=folder, prefix="partial-")
    with partial, ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        fetched = {pool.submit(_fetch, jar, Path(partial.name), folder): jar for jar in jars}
        done, _ = wait(fetched, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=False, cancel_futures=True)
    for future in done:
        error = future.exception()
        if error is not None:
            raise _missing(fetched[future], error, folder)


def _fetch(jar: Jar, repository: Path, folder: Path) -> None:
    """Download one jar and, its hash being right, give it its name; jgo may leave half a file: then again."""
    artifact = _artifact(jar, repository)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path = artifact.resolve()
            if not _is_intact(path, jar):
                raise OSError(f"its sha256 is {_sha256(path)}, not {jar.sha256}")
            path.replace(folder / jar.file_name)
            return
        except (OSError, RuntimeError):
            shutil.rmtree(repository / artifact.component.path_prefix, ignore_errors=True)
            if attempt == ATTEMPTS:
                raise


def _artifact(jar: Jar, repository: Path) -> "Artifact":
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError as error:
        raise not_installed("jgo", "which downloads Kafka's jars") from error
    mirrors = GlobalSettings.load().repositories or None  # None: jgo's default, Maven Central
    context = MavenContext(repo_cache=repository, remote_repos=mirrors, timeout=TIMEOUT_S)
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact()


def _missing(jar: Jar, error: BaseException, folder: Path) -> BaseException:
    if not isinstance(error, (OSError, RuntimeError)):
        return error
    return PartMissing(
        f"Kafka {KAFKA_VERSION} is not complete: {jar} cannot be downloaded: {error!r}. "
        "Needed, once, is a way to a Maven repository; a mirror is named under [repositories] in jgo's "
        f"settings file (~/.config/jgo.conf). Or copy the jars listed in {LIST} to {folder} by hand. "
        "Then run the command again: it goes on where it stopped."
    )


def _resolved() -> Iterator[str]:
    """The lines of the list as jgo resolves them now: for who changes KAFKA."""
    import jgo

    yield f"# {KAFKA} as resolved by jgo: sha256, coordinates. Written by: python -m quarterhour.parts.jars"
    artifacts = jgo.resolve(KAFKA)
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        paths = pool.map(lambda artifact: artifact.resolve(), artifacts)
        lines = {
            (f"{a.groupId}:{a.artifactId}:{a.version}", _sha256(path))
            for a, path in zip(artifacts, paths, strict=True)
        }
    yield from (f"{sha256}  {coordinates}" for coordinates, sha256 in sorted(lines))


if __name__ == "__main__":
    print("\n".join(_resolved()))
