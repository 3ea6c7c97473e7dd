"""A Flink session cluster from the distribution inside PyFlink: one JobManager, one TaskManager."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import yaml

from ops.engines import lock
from ops.engines.cache import cache_dir, tree
from ops.engines.component import Component
from ops.engines.fetch import fetch
from ops.engines.java import home, java
from ops.engines.site import Site

SLOTS = 10
JOBMANAGER_MB = 700
TASKMANAGER_MB = 1600

MODULE_FLAGS = (
    *(f"--add-exports=java.{name}=ALL-UNNAMED" for name in ("rmi/sun.rmi.registry", "security.jgss/sun.security.krb5")),
    *(
        f"--add-opens=java.base/{name}=ALL-UNNAMED"
        for name in (
            *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.text", "java.time"),
            *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
            "sun.nio.ch",
        )
    ),
)
"""What Flink's own configuration opens, without the compiler modules that this Java lacks."""

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = Console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1.})%n
logger.pekko.name = org.apache.pekko
logger.pekko.level = warn
logger.kafka.name = org.apache.kafka
logger.kafka.level = warn
logger.checkpoints.name = org.apache.flink.runtime.checkpoint.CheckpointCoordinator
logger.checkpoints.level = warn
logger.committer.name = org.apache.flink.streaming.api.functions.sink.filesystem
logger.committer.level = warn
logger.fallback.name = org.apache.flink.runtime.util.HadoopUtils
logger.fallback.level = error
logger.metrics.name = org.apache.flink.metrics.MetricGroup
logger.metrics.level = error
"""


def flink_home() -> Path:
    """The distribution: PyFlink's package folder. Read only."""
    import pyflink

    return Path(str(pyflink.__file__)).parent


def install() -> Path:
    """A lib folder: links to the distribution's jars, flink-python, the connectors and Hadoop."""
    artifacts = lock.read()["flink"]
    base = flink_home()
    own = [*(base / "lib").glob("*.jar"), *(base / "opt").glob("flink-python*.jar")]
    jars = [*own, *fetch(artifacts, cache_dir() / "artifacts")]

    def build(folder: Path) -> None:
        for jar in jars:
            (folder / jar.name).symlink_to(jar)

    # The links lead into this environment, so another environment has a folder of its own.
    place = hashlib.sha256(str(base).encode()).hexdigest()[:6]
    return tree(f"flink-lib-{lock.digest(artifacts)}-{place}", build)


def configuration(site: Site) -> dict[str, object]:
    """``config.yaml`` as flat keys."""
    folder = site.data_dir / "flink"
    return {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": site.ports["flink-rpc"],
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "taskmanager.host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": site.ports["flink"],
        # Only the upload of jars by a browser is closed; `flink run` and remote targets hand in job graphs.
        "web.submit.enable": False,
        "jobmanager.memory.process.size": f"{JOBMANAGER_MB}m",
        "jobmanager.memory.off-heap.size": "64m",
        "jobmanager.memory.jvm-metaspace.size": "192m",
        "jobmanager.memory.jvm-overhead.min": "64m",
        "jobmanager.memory.jvm-overhead.max": "64m",
        "taskmanager.memory.process.size": f"{TASKMANAGER_MB}m",
        "taskmanager.memory.managed.size": "128m",
        "taskmanager.memory.network.min": "96m",
        "taskmanager.memory.network.max": "96m",
        "taskmanager.memory.framework.off-heap.size": "64m",
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "160m",
        "taskmanager.memory.jvm-overhead.max": "160m",
        "taskmanager.numberOfTaskSlots": SLOTS,
        "parallelism.default": 1,
        # A lost TaskManager is noticed within seconds: on one machine a pause this long means that it is gone.
        "heartbeat.interval": "2 s",
        "heartbeat.timeout": "10 s",
        # So long a TaskManager waits after a JobManager that refuses its connection: the new one is there in seconds.
        "cluster.registration.error-delay": "1 s",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "20 s",
        "restart-strategy.exponential-delay.backoff-multiplier": 2.0,
        "restart-strategy.exponential-delay.reset-backoff-threshold": "1 min",
        "state.backend.type": "hashmap",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "execution.checkpointing.interval": f"{site.settings.checkpoint_interval_s} s",
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.num-retained": 2,
        "execution.checkpointing.incremental": False,
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "io.tmp.dirs": str(folder / "scratch"),
        "blob.storage.directory": str(folder / "scratch"),
        # pemja and Flink's own classes must be the parent's, once, or a second Python job could not load them.
        "classloader.parent-first-patterns.additional": "pemja.;org.apache.flink.python",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "env.java.opts.all": " ".join(MODULE_FLAGS),
    }


def environ(site: Site) -> dict[str, str]:
    """Variables with which PyFlink and the ``flink`` command find this cluster and its jars."""
    folder = site.data_dir / "flink"
    packages = str(flink_home().parent)
    root = str(Path(__file__).resolve().parents[2])
    return {
        "FLINK_HOME": str(flink_home()),
        "FLINK_CONF_DIR": str(folder / "conf"),
        "FLINK_LIB_DIR": str(install()),
        "FLINK_LOG_DIR": str(folder / "logs"),
        "JAVA_HOME": str(home()),
        # Python functions on the TaskManager import this environment's packages and this checkout.
        "PYTHONPATH": os.pathsep.join([root, packages]),
        "PYFLINK_CLIENT_EXECUTABLE": sys.executable,
        "PATH": path_of_this_python(os.environ.get("PATH", os.defpath)),
    }


def path_of_this_python(path: str) -> str:
    """The search path with this Python's own folder in front.

    A Python inside a Java process takes the first `python3` of the path for itself, and with it that one's standard
    library: another 3.11's extension modules do not fit.
    """
    return os.pathsep.join([str(Path(sys.executable).resolve().parent), path])


def prepare(site: Site) -> None:
    """Writes the configuration, and asks Flink what its memory settings mean for the two virtual machines."""
    folder = site.data_dir / "flink"
    shutil.rmtree(folder / "scratch", ignore_errors=True)  # what killed processes could not clear away
    for name in ("conf", "logs", "scratch", "checkpoints", "savepoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(configuration(site), sort_keys=False, width=10_000)
    (folder / "conf" / "config.yaml").write_text(text, "utf-8")
    for name in ("log4j.properties", "log4j-console.properties", "log4j-cli.properties", "log4j-session.properties"):
        (folder / "conf" / name).write_text(LOG4J, "utf-8")
    remembered = _parameters(folder)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if remembered.get("configuration") != [digest]:
        found = {role: _ask_parameters(folder / "conf", role) for role in ("JM", "TM")}
        content = {"configuration": [digest], **found}
        _parameters_file(folder).write_text(json.dumps(content, indent=1), "utf-8")


def _parameters_file(folder: Path) -> Path:
    return folder / "parameters.json"


def _parameters(folder: Path) -> Mapping[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads(_parameters_file(folder).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _ask_parameters(conf: Path, role: str) -> list[str]:
    """[flags of the virtual machine, arguments of the program], as Flink's start scripts ask for them."""
    tool = flink_home() / "bin" / "bash-java-utils.jar"
    jars = ":".join([str(tool), *map(str, install().glob("flink-dist*.jar"))])
    command = (*java("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"), "-cp", jars)
    what = ("org.apache.flink.runtime.util.bash.BashJavaUtils", f"GET_{role}_RESOURCE_PARAMS", "--configDir", str(conf))
    done = subprocess.run([*command, *what], check=False, capture_output=True, text=True)
    mark = "BASH_JAVA_UTILS_EXEC_RESULT:"
    lines = [line.removeprefix(mark) for line in done.stdout.splitlines() if line.startswith(mark)]
    if done.returncode or not lines:
        raise OSError(f"Flink refuses its configuration: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [*lines, ""][:2]


def _command(site: Site, role: str, main: str, *flags: str) -> tuple[str, ...]:
    folder = site.data_dir / "flink"
    machine, arguments = _parameters(folder).get(role, ["", ""])
    log4j = f"-Dlog4j.configurationFile=file:{folder}/conf/log4j-console.properties"
    jars = ":".join(sorted(map(str, install().glob("*.jar"))))
    start = (*java(*machine.split(), *flags, *MODULE_FLAGS, log4j), "-classpath", jars)
    return (*start, main, "--configDir", str(folder / "conf"), *arguments.split())


def components(site: Site) -> tuple[Component, ...]:
    port = site.ports["flink"]
    folder = site.data_dir / "flink"
    variables = environ(site)
    jobmanager = Component(
        name="flink-jobmanager",
        command=(
            *_command(
                site,
                "JM",
                "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",  # it only coordinates: a third less work at start
            ),
            *("--executionMode", "cluster"),
        ),
        probe=lambda: answers_overview(port),
        endpoint=f"http://127.0.0.1:{port}",
        environ=variables,
        directory=folder,
    )
    taskmanager = Component(
        name="flink-taskmanager",
        command=_command(site, "TM", "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "-XX:+UseG1GC"),
        probe=lambda: has_slots(port),
        endpoint="",
        environ=variables,
        directory=folder,
    )
    return jobmanager, taskmanager


def answers_overview(port: int, timeout_s: float = 3.0) -> dict[str, int]:
    """The cluster's overview. Raises OSError or ValueError when the JobManager gives none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/overview", timeout=timeout_s) as response:
        found: dict[str, int] = json.load(response)
    return found


def has_slots(port: int) -> None:
    """Raises ValueError when no TaskManager is registered."""
    if not answers_overview(port)["slots-total"]:
        raise ValueError("not registered with the JobManager")
