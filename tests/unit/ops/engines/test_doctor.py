"""The doctor finds what is wrong and says what mends it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ops.engines import doctor, lock, site
from ops.engines.doctor import Finding, examine
from ops.engines.lock import Artifact

CONTENT = b"a jar"
ARTIFACT = Artifact(coordinate="a:b:jar:1", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A cache with one locked file, and a repository that nobody answers for."""
    monkeypatch.setattr(lock, "read", lambda: {"kafka": (ARTIFACT,)})
    monkeypatch.setattr(doctor, "_mariadb_libraries", list)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "cache" / "artifacts" / ARTIFACT.path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return {"KOBAN_CACHE_DIR": str(tmp_path / "cache"), "KOBAN_MAVEN_REPOSITORY": "http://127.0.0.1:1"}


def found(tmp_path: Path, environ: dict[str, str], name: str) -> Finding:
    return next(finding for finding in examine(tmp_path / "data", environ) if finding.name == name)


def test_every_finding_that_is_not_well_has_a_mend(tmp_path: Path, environ: dict[str, str]) -> None:
    findings = examine(tmp_path / "data", environ)
    assert {"python", "memory", "user", "cache", "settings", "platform"} <= {finding.name for finding in findings}
    assert all(finding.ok == (not finding.mend) for finding in findings)


def test_a_complete_cache_asks_for_no_network(tmp_path: Path, environ: dict[str, str]) -> None:
    findings = examine(tmp_path / "data", environ)
    assert "repository" not in {finding.name for finding in findings}
    assert found(tmp_path, environ, "cache").ok


def test_a_damaged_file_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "cache" / "artifacts" / ARTIFACT.path
    path.write_bytes(b"b jar")
    finding = found(tmp_path, environ, "cache")
    assert not finding.ok
    assert str(path) in finding.mend


def test_a_missing_file_needs_a_repository_that_answers(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "cache" / "artifacts" / ARTIFACT.path).unlink()
    assert "1 files to fetch" in found(tmp_path, environ, "cache").detail
    finding = found(tmp_path, environ, "repository")
    assert not finding.ok
    assert "KOBAN_MAVEN_REPOSITORY" in finding.mend


def test_a_misspelt_variable_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    finding = found(tmp_path, {**environ, "KOBAN_KAKFA_BOOTSTRAP": "x"}, "settings")
    assert finding.detail == "unknown: KOBAN_KAKFA_BOOTSTRAP"


def test_a_variable_that_does_not_fit_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    finding = found(tmp_path, {**environ, "KOBAN_PAYMENT_PARTITIONS": "many"}, "settings")
    assert "KOBAN_PAYMENT_PARTITIONS='many'" in finding.detail


def test_a_damaged_platform_file_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    path = site.platform_file(tmp_path / "data")
    path.parent.mkdir()
    path.write_text("{")
    finding = found(tmp_path, environ, "settings")
    assert not finding.ok
    assert str(path) in finding.detail
