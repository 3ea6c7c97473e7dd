"""The lock of the engines: what a line means, and that the committed one is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.engines import lock
from ops.engines.lock import Artifact


def artifact(coordinate: str, sha256: str = "0" * 64) -> Artifact:
    return Artifact(coordinate=coordinate, size=1, sha256=sha256)


@pytest.mark.parametrize(
    ("coordinate", "path"),
    [
        ("org.slf4j:slf4j-api:jar:1.7.36", "org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar"),
        ("a.b:node:zip:3.8.0", "a/b/node/3.8.0/node-3.8.0.zip"),
        ("a:x:jar:linux:1", "a/x/1/x-1-linux.jar"),
    ],
)
def test_a_coordinate_names_a_path_in_a_maven_repository(coordinate: str, path: str) -> None:
    assert artifact(coordinate).path == path
    assert artifact(coordinate).name == path.rpartition("/")[2]


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    written = {"kafka": (artifact("a:b:jar:1"), artifact("a:c:jar:2")), "flink": (artifact("d:e:jar:3"),)}
    path = tmp_path / "engines.lock"
    path.write_text(lock.dump(written), "utf-8")
    assert lock.read(path) == written


@pytest.mark.parametrize("text", ["kafka = [", "kafka = 1", 'kafka = [{ coordinate = "a:b:jar:1" }]'])
def test_a_file_that_is_no_lock_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engines.lock"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"engines\.lock: not an engine lock"):
        lock.read(path)


def test_the_committed_lock_holds_every_named_coordinate_once() -> None:
    found = lock.read()
    assert set(found) == {*lock.RESOLVED, *lock.ALONE}
    for engine, artifacts in found.items():
        coordinates = [one.coordinate for one in artifacts]
        assert len(coordinates) == len(set(coordinates))
        for root in (*lock.RESOLVED.get(engine, ()), *lock.ALONE.get(engine, ())):
            assert lock._canonical(root) in coordinates
        assert all(len(one.sha256) == 64 and one.size > 0 for one in artifacts)


def test_all_of_kafka_is_of_one_version() -> None:
    versions = {
        one.coordinate.rpartition(":")[2]
        for one in lock.read()["kafka"]
        if one.coordinate.startswith("org.apache.kafka:")
    }
    assert versions == {lock.KAFKA_VERSION}


def test_the_digest_tells_sets_of_files_apart() -> None:
    one, other = artifact("a:b:jar:1", "1" * 64), artifact("a:b:jar:1", "2" * 64)
    assert lock.digest((one,)) == lock.digest((one,)) != lock.digest((other,))
