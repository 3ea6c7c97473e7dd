"""What is left of a platform after it was erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.engines import rootless
from ops.platform import Platform


def test_nothing_of_an_erased_platform_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, some engines keep their data outside of the data directory; a new platform must not find it there."""
    monkeypatch.setattr(rootless, "SYSTEM_DATA", tmp_path / "system")
    mine, other = tmp_path / "mine", tmp_path / "other"
    for data_dir in (mine, other):
        for folder in (data_dir / "kafka", rootless.system_folder(data_dir) / "opensearch"):
            folder.mkdir(parents=True)
            (folder / "data").write_text("old")
    Platform(mine).erase()
    assert not mine.exists()
    assert not rootless.system_folder(mine).exists()
    assert (rootless.system_folder(other) / "opensearch" / "data").exists()
    Platform(mine).erase()
