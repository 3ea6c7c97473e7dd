"""The per-user cache: verified downloads under ``artifacts/``, unpacked engines under ``trees/``."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

SYSTEM_CACHE = Path("/var/cache/koban")


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``KOBAN_CACHE_DIR``, else ``koban`` in the user's cache folder.

    As root with a closed home folder it is ``/var/cache/koban``: OpenSearch and MariaDB run as another user there and
    must be able to read their own programs.
    """
    if named := environ.get("KOBAN_CACHE_DIR"):
        return Path(named).absolute()
    base = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", ".")) / ".cache").absolute()
    if os.geteuid() == 0 and not open_to_all(base):
        return SYSTEM_CACHE
    return base / "koban"


def open_to_all(path: Path) -> bool:
    """Whether any user may pass through every existing folder on the way to ``path`` and through it."""
    return all(not folder.exists() or folder.stat().st_mode & 0o001 for folder in [path, *path.parents])


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file across processes and threads; waits for whoever has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tree(name: str, build: Callable[[Path], None], cache: Path | None = None) -> Path:
    """The folder ``trees/<name>``, made by ``build(empty folder)`` if it is not there yet.

    It appears whole or not at all: it is built beside its place and renamed.
    """
    trees = (cache or cache_dir()) / "trees"
    final = trees / name
    if final.exists():
        return final
    with exclusive(trees / f"{name}.lock"):
        if final.exists():
            return final
        fresh = Path(mkdtemp(prefix=f".{name}-", dir=trees))
        try:
            build(fresh)
            fresh.chmod(0o755)
            fresh.rename(final)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return final
