"""Kafka's jars: the committed list is what is run, and a download that fails says what to do.

The downloads are real ones by jgo, from a repository on this machine that holds the jars of the user's
cache.
"""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from quarterhour.parts.errors import PartMissing
from quarterhour.parts.jars import class_path, kafka_jars


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):  # noqa: A002
        pass


def silent(_message):
    pass


@pytest.fixture(scope="module")
def cached(parts):
    """The jars in the user's cache, there because the parts are up."""
    return class_path(silent).split(":")


@pytest.fixture
def repository(tmp_path, cached, monkeypatch):
    """A Maven repository, named to jgo as its mirror."""
    folder = tmp_path / "repository"
    for jar, path in zip(kafka_jars(), cached, strict=True):
        place = folder / jar.group.replace(".", "/") / jar.artifact / jar.version
        place.mkdir(parents=True)
        (place / jar.file_name).symlink_to(path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = tmp_path / "jgo.conf"
    settings.write_text(f"[repositories]\nmirror = http://127.0.0.1:{server.server_port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_jar_of_the_list_has_a_hash_and_a_name_of_its_own():
    jars = kafka_jars()
    assert len(jars) == 45
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.file_name for jar in jars}) == len(jars)


def test_an_empty_cache_is_filled_once(repository, tmp_path):
    said = []
    class_path(said.append, tmp_path / "cache")
    assert len(said) == 1
    assert "downloading 45 of 45 jars" in said[0]
    class_path(said.append, tmp_path / "cache")
    assert len(said) == 1
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {jar.file_name for jar in kafka_jars()}


def test_a_damaged_jar_is_fetched_again(repository, tmp_path):
    class_path(silent, tmp_path / "cache")
    damaged = tmp_path / "cache" / kafka_jars()[3].file_name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1])
    said = []
    class_path(said.append, tmp_path / "cache")
    assert "downloading 1 of 45 jars" in said[0]
    assert damaged.read_bytes() == whole


def test_a_jar_with_another_hash_than_the_list_has_is_never_used(repository, tmp_path):
    forged = next(repository.rglob("kafka-clients-*.jar"))
    forged.unlink()
    forged.write_bytes(b"not the jar")
    with pytest.raises(PartMissing, match=r"kafka-clients.*its sha256 is [0-9a-f]{64}, not [0-9a-f]{64}"):
        class_path(silent, tmp_path / "cache")
    assert not (tmp_path / "cache" / forged.name).exists()


def test_a_jar_that_cannot_be_had_is_named_with_what_to_do(repository, tmp_path):
    next(repository.rglob("jackson-core-*.jar")).unlink()
    with pytest.raises(
        PartMissing, match=r"jackson-core.*\[repositories\].*goes on where it stopped"
    ) as caught:
        class_path(silent, tmp_path / "cache")
    assert caught.value.exit_status == 3


def test_without_a_network_the_message_says_what_is_needed(tmp_path, monkeypatch):
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\nnowhere = http://127.0.0.1:9\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    with pytest.raises(PartMissing, match="Needed, once, is a way to a Maven repository"):
        class_path(silent, tmp_path / "cache")


def test_jars_of_the_cache_need_no_network(cached, tmp_path, monkeypatch):
    settings = tmp_path / "jgo.conf"
    settings.write_text("[repositories]\nnowhere = http://127.0.0.1:9\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    assert class_path(silent).split(":") == cached
