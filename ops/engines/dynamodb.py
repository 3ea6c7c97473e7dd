"""DynamoDB Local, standing in for DynamoDB: the read model of balances for apps. Started only when asked for."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from ops.engines import lock
from ops.engines.cache import cache_dir, tree
from ops.engines.component import Component
from ops.engines.fetch import fetch
from ops.engines.java import java
from ops.engines.site import Site

HEAP_MB = 192
MAIN = "com.amazonaws.services.dynamodbv2.local.main.ServerRunner"


def install() -> Path:
    """A folder with links to its jars and to SQLite's native library."""
    files = fetch(lock.read()["dynamodb"], cache_dir() / "artifacts")

    def build(folder: Path) -> None:
        for file in files:
            (folder / file.name).symlink_to(file)

    return tree(f"dynamodb-{lock.digest(lock.read()['dynamodb'])}", build)


def prepare(site: Site) -> None:
    """Makes the folder of its database file."""
    install()
    (site.data_dir / "dynamodb").mkdir(parents=True, exist_ok=True)


def components(site: Site) -> tuple[Component, ...]:
    libraries, folder, port = install(), site.data_dir / "dynamodb", site.ports["dynamodb"]
    flags = ("-Xms32m", f"-Xmx{HEAP_MB}m", "-XX:+UseSerialGC", f"-Dsqlite4java.library.path={libraries}")
    jars = ":".join(str(jar) for jar in sorted(libraries.glob("*.jar")))
    options = ("-port", str(port), "-dbPath", str(folder), "-sharedDb", "-disableTelemetry")
    return (
        Component(
            name="dynamodb",
            command=(*java(*flags, "-cp", jars), MAIN, *options),
            probe=lambda: answers(f"http://127.0.0.1:{port}"),
            endpoint=f"http://127.0.0.1:{port}",
            directory=folder,
        ),
    )


def answers(url: str, timeout_s: float = 3.0) -> None:
    """Returns when it answers at all: a bare GET is an error to it. Raises OSError otherwise."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310  # our own loopback address
            pass
    except urllib.error.HTTPError as error:
        if error.code != 400:
            raise
