"""OpenSearch with Japanese analysis: one node, reachable from this machine only."""

from __future__ import annotations

import json
import shutil
import urllib.request
import zipfile
from pathlib import Path

from ops.engines import lock, rootless
from ops.engines.cache import cache_dir, tree
from ops.engines.component import ASKED, Component
from ops.engines.fetch import fetch
from ops.engines.java import home_for_all, java
from ops.engines.site import Site

HEAP_MB = 768

UNUSED_MODULES = ("ingest-geoip", "transport-grpc", "opensearch-dashboards", "ingest-user-agent", "repository-url")
"""Half of the unpacked size, and nothing here asks for them."""

KUROMOJI_DESCRIPTOR = """\
description=Japanese (kuromoji) analysis
version={version}
name=analysis-kuromoji
classname=org.opensearch.plugin.analysis.kuromoji.AnalysisKuromojiPlugin
java.version=21
opensearch.version={version}
has.native.controller=false
"""

YML = """\
cluster.name: koban
node.name: koban
path.data: {folder}/data
path.logs: {folder}/logs
network.host: 127.0.0.1
http.port: {port}
transport.port: {transport_port}
discovery.type: single-node
# Indices are made by the platform with their mappings; a misspelt name is an error.
action.auto_create_index: false
action.destructive_requires_name: true
bootstrap.memory_lock: false
# A laptop's disk is often nearly full; below this much free space OpenSearch would refuse writes.
cluster.routing.allocation.disk.watermark.low: 1gb
cluster.routing.allocation.disk.watermark.high: 700mb
cluster.routing.allocation.disk.watermark.flood_stage: 400mb
"""

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1.})%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
logger.deprecation.name = org.opensearch.deprecation
logger.deprecation.level = error
"""

FLAGS = (
    "-Xms256m",
    f"-Xmx{HEAP_MB}m",
    "-XX:+UseG1GC",
    "-XX:G1ReservePercent=25",
    "-XX:InitiatingHeapOccupancyPercent=30",
    "-Xss1m",
    # The optimising compiler waits longer: at start it took as much processor time as everything else together.
    "-XX:Tier4InvocationThreshold=20000",
    "-XX:Tier4MinInvocationThreshold=3000",
    "-XX:Tier4CompileThreshold=40000",
    "-XX:Tier4BackEdgeThreshold=200000",
    "-XX:-OmitStackTraceInFastThrow",
    "-Dfile.encoding=UTF-8",
    "-Djna.nosys=true",
    "-Dio.netty.noUnsafe=true",
    "-Dio.netty.noKeySetOptimization=true",
    "-Dio.netty.recycler.maxCapacityPerThread=0",
    "-Dio.netty.allocator.numDirectArenas=0",
    "-Dlog4j.shutdownHookEnabled=false",
    "-Dlog4j2.disable.jmx=true",
    "-Djava.security.manager=allow",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1",
    # The Thai analyzer that OpenSearch builds at start wants locale data that this Java lacks; ICU provides it.
    "-Djava.locale.providers=SPI,CLDR",
    "-Dopensearch.networkaddress.cache.ttl=60",
    "-Dopensearch.networkaddress.cache.negative.ttl=10",
    "-Dopensearch.distribution.type=zip",
    "-Dopensearch.bundled_jdk=false",
)


def install() -> Path:
    """The unpacked node with its plugin."""
    artifacts = lock.read()["opensearch"]
    paths = fetch(artifacts, cache_dir() / "artifacts")
    by_name = {path.name.rsplit("-", 1)[0]: path for path in paths}

    def build(folder: Path) -> None:
        with zipfile.ZipFile(by_name["opensearch"]) as file:
            _unpack(file, folder)
        for jar in ("icu4j", "icu4j-localespi"):
            shutil.copy(by_name[jar], folder / "lib")
        plugin = folder / "plugins" / "analysis-kuromoji"
        plugin.mkdir(parents=True)
        for jar in ("analysis-kuromoji", "lucene-analysis-kuromoji"):
            shutil.copy(by_name[jar], plugin)
        descriptor = KUROMOJI_DESCRIPTOR.format(version=lock.OPENSEARCH_VERSION)
        (plugin / "plugin-descriptor.properties").write_text(descriptor, "utf-8")
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    return tree(f"opensearch-{lock.digest(artifacts)}", build)


def _unpack(file: zipfile.ZipFile, folder: Path) -> None:
    """Everything but the outermost folder and the modules that are not used."""
    for info in file.infolist():
        parts = Path(info.filename).parts[1:]
        if info.is_dir() or (parts[0] == "modules" and parts[1] in UNUSED_MODULES):
            continue
        assert ".." not in parts, info.filename
        target = folder.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(info) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)


def prepare(site: Site) -> None:
    """Writes the configuration into folders of the engine's user."""
    install()
    folder = rootless.make(rootless.folder(site, "opensearch"))
    for name in ("config", "data", "logs", "scratch"):
        rootless.make(folder / name)
    ports = {"port": site.ports["opensearch"], "transport_port": site.ports["opensearch-transport"]}
    rootless.write(folder / "config" / "opensearch.yml", YML.format(folder=folder, **ports))
    rootless.write(folder / "config" / "log4j2.properties", LOG4J)


def components(site: Site) -> tuple[Component, ...]:
    node = install()
    folder = rootless.folder(site, "opensearch")
    port = site.ports["opensearch"]
    flags = (
        *FLAGS,
        f"-javaagent:{node}/agent/opensearch-agent.jar",
        f"-Djava.io.tmpdir={folder / 'scratch'}",
        f"-Dopensearch.path.home={node}",
        f"-Dopensearch.path.conf={folder}/config",
    )
    return (
        Component(
            name="opensearch",
            command=(*java(*flags, home=home_for_all()), "-cp", f"{node}/lib/*", "org.opensearch.bootstrap.OpenSearch"),
            probe=lambda: answers_health(port),
            endpoint=f"http://127.0.0.1:{port}",
            directory=node,
            sheds_root=True,
            stop_s_max=30,
            niceness=ASKED,
        ),
    )


def answers_health(port: int, timeout_s: float = 3.0) -> None:
    """Asks for the cluster's health. Raises OSError or ValueError when no request could be served."""
    url = f"http://127.0.0.1:{port}/_cluster/health"
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        status = json.load(response)["status"]
    if status == "red":
        raise ValueError("an index has lost a shard (status red)")
