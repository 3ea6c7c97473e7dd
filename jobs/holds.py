"""Jobs that a person stopped: the keeper leaves them alone until they are submitted again."""

from __future__ import annotations

from pathlib import Path

from koban.settings import Settings


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "flink" / "held"


def held(settings: Settings) -> frozenset[str]:
    """Names of the stopped jobs."""
    folder = _folder(settings)
    return frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()


def hold(settings: Settings, name: str) -> None:
    """From now on the keeper does not submit the job."""
    _folder(settings).mkdir(parents=True, exist_ok=True)
    (_folder(settings) / name).touch()


def release(settings: Settings, name: str) -> None:
    """The keeper submits the job again when it is not running."""
    (_folder(settings) / name).unlink(missing_ok=True)
