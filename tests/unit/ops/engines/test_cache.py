"""The cache: trees appear whole or not at all, and are built once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ops.engines import cache
from ops.engines.cache import cache_dir, open_to_all, tree


def test_a_tree_is_built_once(tmp_path: Path) -> None:
    builds: list[Path] = []

    def build(folder: Path) -> None:
        builds.append(folder)
        (folder / "a").write_text("a")

    first = tree("engine-1", build, tmp_path)
    assert (first / "a").read_text() == "a"
    assert tree("engine-1", build, tmp_path) == first
    assert len(builds) == 1


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        tree("engine-1", build, tmp_path)
    assert [path.name for path in (tmp_path / "trees").iterdir()] == ["engine-1.lock"]


def test_nobody_sees_a_tree_before_it_is_whole(tmp_path: Path) -> None:
    building, go_on = threading.Event(), threading.Event()

    def build(folder: Path) -> None:
        (folder / "first").write_text("1")
        building.set()
        assert go_on.wait(30)
        (folder / "last").write_text("2")

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(tree, "engine-1", build, tmp_path)
        assert building.wait(30)
        other = pool.submit(tree, "engine-1", build, tmp_path)
        assert not (tmp_path / "trees" / "engine-1").exists()
        go_on.set()
        assert one.result(30) == other.result(30)
    assert {path.name for path in one.result().iterdir()} == {"first", "last"}


def test_the_cache_is_named_or_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir({"KOBAN_CACHE_DIR": "/x", "HOME": "/h"}) == Path("/x")
    monkeypatch.setattr(cache.os, "geteuid", lambda: 1000)
    assert cache_dir({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/koban")
    assert cache_dir({"HOME": "/h"}) == Path("/h/.cache/koban")


def test_root_with_a_closed_home_uses_the_system_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    monkeypatch.setattr(cache.os, "geteuid", lambda: 0)
    assert not open_to_all(home)
    assert cache_dir({"HOME": str(home)}) == cache.SYSTEM_CACHE
