"""Gets locked files into the cache: in parallel, going on where a cut download stopped, and never unverified."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from jgo.constants import MAVEN_CENTRAL_URL
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ops.engines.cache import exclusive
from ops.engines.lock import Artifact, sha256_of

PARALLEL = 6
ATTEMPTS = 5
"""A cut or refused transfer is taken up again this often before it is an error."""
TIMEOUT = httpx.Timeout(60, connect=15)


class FetchError(Exception):
    """A file could not be had, or was not the locked one."""


def repository_url(environ: Mapping[str, str] = os.environ) -> str:
    """Base URL of the Maven repository: ``KOBAN_MAVEN_REPOSITORY``, else the one jgo takes."""
    return environ.get("KOBAN_MAVEN_REPOSITORY", str(MAVEN_CENTRAL_URL)).rstrip("/")


def fetch(artifacts: Iterable[Artifact], folder: Path, repository: str | None = None) -> list[Path]:
    """Paths of the artifacts under ``folder``, downloading what is missing. Raises FetchError.

    A file under its final name is a verified one: it gets that name only after its sha256 was right.
    """
    artifacts = list(artifacts)
    missing = [artifact for artifact in artifacts if not (folder / artifact.path).exists()]
    if missing:
        _download(missing, folder, repository or repository_url())
    return [folder / artifact.path for artifact in artifacts]


def _download(missing: list[Artifact], folder: Path, repository: str) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("fetching engines"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress,
        httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client,
        ThreadPoolExecutor(PARALLEL) as pool,
    ):
        task = progress.add_task("", total=sum(artifact.size for artifact in missing))

        def one(artifact: Artifact) -> None:
            fetch_one(client, artifact, folder, repository, lambda count: progress.advance(task, count))

        # Largest first: the last thing to finish is then a small one.
        list(pool.map(one, sorted(missing, key=lambda artifact: -artifact.size)))


def fetch_one(
    client: httpx.Client, artifact: Artifact, folder: Path, repository: str, advance: Callable[[int], object]
) -> None:
    """Downloads one artifact unless another process did it meanwhile. Raises FetchError."""
    path = folder / artifact.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_name(path.name + ".lock")):
        if path.exists():
            advance(artifact.size)
            return
        part = path.with_name(path.name + ".part")
        _resume(client, f"{repository}/{artifact.path}", part, artifact.size, advance)
        _verify(artifact, part)
        part.rename(path)


def _resume(client: httpx.Client, url: str, part: Path, size: int, advance: Callable[[int], object]) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done > size:
        part.unlink()
        done = 0
    advance(done)
    for attempt in range(ATTEMPTS):
        try:
            while done < size:
                done = _transfer(client, url, part, done, advance)
            return
        except httpx.HTTPStatusError as error:
            if error.response.status_code < 500 and error.response.status_code != 429:
                raise FetchError(f"{url}: {error.response.status_code} {error.response.reason_phrase}") from error
            last: httpx.HTTPError = error
        except httpx.TransportError as error:
            last = error
        done = part.stat().st_size if part.exists() else 0
        if attempt + 1 == ATTEMPTS:
            raise FetchError(f"{url}: cut {ATTEMPTS} times, {done} of {size} bytes here: {last}") from last


def _transfer(client: httpx.Client, url: str, part: Path, done: int, advance: Callable[[int], object]) -> int:
    """One request for the bytes from ``done`` on; the bytes there are afterwards."""
    with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as response:
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        with part.open("ab" if resumed else "wb") as file:
            if not resumed:  # the server sends the whole file again
                advance(-done)
            # Raw bytes: a repository may label a jar with a content encoding, and the hash is over what it stores.
            for chunk in response.iter_raw():
                file.write(chunk)
                advance(len(chunk))
            end = file.tell()
    if end <= (done if resumed else 0):
        raise httpx.RemoteProtocolError("an empty answer")
    return end


def _verify(artifact: Artifact, part: Path) -> None:
    found = sha256_of(part)
    if found != artifact.sha256:
        part.unlink()
        raise FetchError(f"{artifact.coordinate}: sha256 {found}, the lock says {artifact.sha256}; removed it")
