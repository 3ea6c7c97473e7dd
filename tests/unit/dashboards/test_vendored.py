"""Other people's files are what their authors published, and say under which terms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PACKAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "vendor.yaml").read_text("utf-8"))
FOLDERS = ("dashboards/static/vendor", "tests/console/vendor")


@pytest.mark.parametrize("name", PACKAGES)
def test_each_file_is_as_it_was_published(name: str) -> None:
    for file in PACKAGES[name]["files"]:
        assert hashlib.sha256((ROOT / file["to"]).read_bytes()).hexdigest() == file["sha256"], file["to"]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_has_its_licence_beside_it(name: str) -> None:
    assert PACKAGES[name]["license"]
    assert any(Path(file["from"]).name == "LICENSE" for file in PACKAGES[name]["files"])


def test_nothing_else_is_there() -> None:
    """A file that nobody listed is nobody's."""
    listed = {file["to"] for package in PACKAGES.values() for file in package["files"]}
    there = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*")}
    assert there == listed
