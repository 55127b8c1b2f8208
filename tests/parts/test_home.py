"""What a home chooses once and keeps, and who may work on it."""

import socket
import stat
import threading

from quarterhour.parts.home import ADDRESS, PORTS, STATE_FILE, Home

DEADLINE_S = 10


def test_a_port_is_chosen_once(tmp_path):
    home = Home(tmp_path)
    port = home.port("kafka_port")
    assert port in PORTS
    assert {Home(tmp_path).port("kafka_port"), home.free_port("kafka_port")} == {port}


def test_a_port_that_a_stranger_took_is_given_up_for_good(tmp_path):
    home = Home(tmp_path)
    port = home.port("kafka_port")
    with socket.create_server((ADDRESS, port)):
        chosen = home.free_port("kafka_port")
    assert chosen != port
    assert Home(tmp_path).port("kafka_port") == chosen


def test_a_port_with_connections_of_a_dead_server_is_still_ours(tmp_path):
    home = Home(tmp_path)
    port = home.port("kafka_port")
    with socket.create_server((ADDRESS, port)) as server, socket.create_connection((ADDRESS, port)) as client:
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: it stays in TIME_WAIT
        assert client.recv(1) == b""
    assert home.free_port("kafka_port") == port


def test_the_state_holds_a_password_and_is_for_its_owner_only(tmp_path):
    Home(tmp_path).remembered("postgres_password", lambda: "secret")
    assert stat.S_IMODE((tmp_path / STATE_FILE).stat().st_mode) == 0o600


def test_git_ignores_a_home(tmp_path):
    Home(tmp_path / "home").create()
    assert (tmp_path / "home" / ".gitignore").read_text() == "*\n"


def test_who_comes_second_says_so_and_waits(tmp_path):
    said, done = threading.Event(), threading.Event()

    def second():
        with Home(tmp_path).exclusive(lambda message: said.set()):
            done.set()

    thread = threading.Thread(target=second)
    with Home(tmp_path).exclusive(lambda message: None):
        thread.start()
        assert said.wait(DEADLINE_S)
        assert not done.is_set()
    thread.join(DEADLINE_S)
    assert done.is_set()
