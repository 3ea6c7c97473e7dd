"""Downloads: resumed where they were cut, verified before they count, and made once by however many want them."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ops.engines import fetch as module
from ops.engines.fetch import FetchError, fetch, repository_url
from ops.engines.lock import Artifact

CONTENT = random.Random(7).randbytes(700_000)
ARTIFACT = Artifact(coordinate="a.b:c:jar:1", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())


class Repository:
    """A Maven repository of one file on loopback, that can be told to misbehave."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.cut_after: list[int] = []
        """Each of the next answers ends after so many bytes."""
        self.knows_ranges = True
        self.statuses: list[int] = []
        """Each of the next answers is this error."""
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/maven2"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if self.statuses:
            request.send_error(self.statuses.pop(0))
            return
        if request.path != f"/maven2/{ARTIFACT.path}":
            request.send_error(404)
            return
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_ranges else 0
        body = CONTENT[begin:]
        request.send_response(206 if begin else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
            request.close_connection = True
        request.wfile.write(body)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    made = Repository()
    # Proxy settings of the machine are not for loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_file_is_fetched_once(repository: Repository, tmp_path: Path) -> None:
    (path,) = fetch([ARTIFACT], tmp_path, repository.url)
    assert path.read_bytes() == CONTENT
    assert fetch([ARTIFACT], tmp_path, repository.url) == [path]
    assert repository.ranges == [None]


def test_a_cut_download_goes_on_where_it_stopped(repository: Repository, tmp_path: Path) -> None:
    repository.cut_after = [300_000, 100_000]
    (path,) = fetch([ARTIFACT], tmp_path, repository.url)
    assert path.read_bytes() == CONTENT
    first, *resumed = repository.ranges
    assert first is None
    begins = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in resumed if asked]
    assert len(begins) == 2
    assert 0 < begins[0] <= 300_000
    assert begins[0] < begins[1] <= 400_000


def test_the_part_of_an_earlier_process_is_used(repository: Repository, tmp_path: Path) -> None:
    part = tmp_path / f"{ARTIFACT.path}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:500_000])
    (path,) = fetch([ARTIFACT], tmp_path, repository.url)
    assert path.read_bytes() == CONTENT
    assert repository.ranges == ["bytes=500000-"]
    assert not part.exists()


def test_a_repository_that_ignores_ranges_is_read_from_the_start(repository: Repository, tmp_path: Path) -> None:
    repository.knows_ranges = False
    repository.cut_after = [300_000]
    (path,) = fetch([ARTIFACT], tmp_path, repository.url)
    assert path.read_bytes() == CONTENT


def test_a_passing_error_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    repository.statuses = [503, 429]
    (path,) = fetch([ARTIFACT], tmp_path, repository.url)
    assert path.read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_an_error_at_once(repository: Repository, tmp_path: Path) -> None:
    missing = Artifact(coordinate="a.b:c:jar:2", size=1, sha256="0" * 64)
    with pytest.raises(FetchError, match="404"):
        fetch([missing], tmp_path, repository.url)
    assert len(repository.ranges) == 1


def test_a_line_that_is_cut_for_good_is_an_error_and_keeps_the_part(repository: Repository, tmp_path: Path) -> None:
    repository.cut_after = [1000] * module.ATTEMPTS
    with pytest.raises(FetchError, match=f"cut {module.ATTEMPTS} times"):
        fetch([ARTIFACT], tmp_path, repository.url)
    assert (tmp_path / f"{ARTIFACT.path}.part").exists()
    assert fetch([ARTIFACT], tmp_path, repository.url)[0].read_bytes() == CONTENT


def test_a_file_with_another_hash_is_refused_and_removed(repository: Repository, tmp_path: Path) -> None:
    other = Artifact(coordinate=ARTIFACT.coordinate, size=ARTIFACT.size, sha256="f" * 64)
    with pytest.raises(FetchError, match="sha256"):
        fetch([other], tmp_path, repository.url)
    assert not (tmp_path / ARTIFACT.path).exists()
    assert not (tmp_path / f"{ARTIFACT.path}.part").exists()


def test_two_fetchers_at_once_download_once(repository: Repository, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, [ARTIFACT], tmp_path, repository.url) for _ in range(2)]
        assert {path.read_bytes() for one in both for path in one.result()} == {CONTENT}
    assert repository.ranges == [None]


def test_the_repository_can_be_named(repository: Repository) -> None:
    assert repository_url({"KOBAN_MAVEN_REPOSITORY": repository.url + "/"}) == repository.url
    assert repository_url({}).startswith("https://")
