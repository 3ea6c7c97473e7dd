"""Kafka: one KRaft node that is broker and controller."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

from ops.engines import lock
from ops.engines.cache import cache_dir, tree
from ops.engines.component import WORKS, Component
from ops.engines.fetch import fetch
from ops.engines.java import java
from ops.engines.site import Site

HEAP_MB = 512
MESSAGE_BYTES_MAX = 12 * 1024 * 1024
"""Even a 10 MB value gets in: turning it away is the gate's task, with a dead letter that tells of it."""
CLUSTER_ID = "S29iYW5Lb2Jhbktvb09JZw"
"""One for all platforms: their data directories and ports keep them apart."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={data}

auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A Flink job that is down keeps its open transaction this long before the broker gives it up.
transaction.max.timeout.ms=900000
message.max.bytes={message_bytes_max}
replica.fetch.max.bytes={message_bytes_max}
group.initial.rebalance.delay.ms=0

# A broker that was killed is let in again only when its last session has run out: keep that short.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000

# One small node: few threads and a small cleaner buffer (the default takes 128 MB of the heap).
num.network.threads=2
num.io.threads=4
background.threads=2
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=16777216
log.segment.bytes=268435456
# Compacted topics are read back whole when a worker starts, so the cleaner is kept busy.
log.cleaner.backoff.ms=5000
"""

LOG4J = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
logger.cleaner.name = org.apache.kafka.storage.internals.log.LogCleaner
logger.cleaner.level = warn
logger.coordinator.name = kafka.coordinator
logger.coordinator.level = warn
"""


def libs() -> list[Path]:
    """The jars of Kafka, downloaded if need be."""
    return fetch(lock.read()["kafka"], cache_dir() / "artifacts")


def install() -> Path:
    """A folder with links to the jars of Kafka."""
    jars = libs()

    def build(folder: Path) -> None:
        for jar in jars:
            (folder / jar.name).symlink_to(jar)

    return tree(f"kafka-{lock.digest(lock.read()['kafka'])}", build)


def classpath() -> str:
    return ":".join(str(jar) for jar in sorted(install().glob("*.jar")))


def prepare(site: Site) -> None:
    """Writes the configuration and formats an empty log directory."""
    folder = site.data_dir / "kafka"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log4j2.properties").write_text(LOG4J, "utf-8")
    (folder / "server.properties").write_text(
        PROPERTIES.format(
            port=site.ports["kafka"],
            controller_port=site.ports["kafka-controller"],
            data=folder / "data",
            message_bytes_max=MESSAGE_BYTES_MAX,
        ),
        "utf-8",
    )
    if not (folder / "data" / "meta.properties").exists():
        _format(folder)


def _format(folder: Path) -> None:
    config = ("--config", str(folder / "server.properties"))
    flags = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    command = (*_java(folder, *flags), "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, *config)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"Kafka's storage could not be formatted: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _java(folder: Path, *flags: str) -> tuple[str, ...]:
    log4j = f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"
    return java(*flags, log4j, f"-Dkafka.logs.dir={folder}", "-cp", classpath())


def components(site: Site) -> tuple[Component, ...]:
    folder = site.data_dir / "kafka"
    flags = ("-Xms128m", f"-Xmx{HEAP_MB}m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
    port = site.ports["kafka"]
    return (
        Component(
            name="kafka",
            command=(*_java(folder, *flags), "kafka.Kafka", str(folder / "server.properties")),
            probe=lambda: serves_metadata(port),
            endpoint=f"127.0.0.1:{port}",
            directory=folder,
            stop_s_max=30,
            niceness=WORKS,
        ),
    )


def serves_metadata(port: int, timeout_s: float = 3.0) -> None:
    """Asks the broker for its metadata (version 4 of the request). Raises OSError or ValueError when it has none."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        header = struct.pack(">hhih5s", 3, 4, 1, 5, b"koban")
        body = struct.pack(">i?", 0, False)  # of no topic, and create none
        connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        _, _, _, brokers = struct.unpack(">iiii", _read(connection, 16))  # size, correlation, throttle, brokers
    if brokers < 1:
        raise ValueError("the broker is not registered yet")


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("the broker hung up")
        data += chunk
    return data
