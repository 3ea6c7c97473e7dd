"""Static files: sent once, compressed, and kept for as long as they stay the same."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest

from dashboards.static_files import StaticFiles

SCRIPT = b"export const answer = 42;\n" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.js").write_bytes(SCRIPT)
    (tmp_path / "tiny.svg").write_bytes(b"<svg/>")
    (tmp_path.parent / "secret.txt").write_bytes(b"secret")
    return tmp_path


def get(folder: Path, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(StaticFiles(folder))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.request(method, path, headers={"accept-encoding": "", **headers})

    return asyncio.run(ask())


def test_a_file_is_compressed_for_who_can_read_it(folder: Path) -> None:
    packed = get(folder, "/deep/a.js", **{"accept-encoding": "br, gzip;q=0.9"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == SCRIPT
    assert int(packed.headers["content-length"]) == len(gzip.compress(SCRIPT, 9, mtime=0))
    plain = get(folder, "/deep/a.js")
    assert "content-encoding" not in plain.headers
    assert plain.content == SCRIPT
    assert plain.headers["content-type"].startswith("text/javascript")
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]


def test_what_compression_makes_larger_is_sent_as_it_is(folder: Path) -> None:
    assert "content-encoding" not in get(folder, "/tiny.svg", **{"accept-encoding": "gzip"}).headers


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_file_that_the_browser_has_is_not_sent_again(folder: Path, encoding: str) -> None:
    first = get(folder, "/deep/a.js", **{"accept-encoding": encoding})
    again = get(folder, "/deep/a.js", **{"accept-encoding": encoding, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (folder / "deep" / "a.js").write_bytes(b"changed")
    assert get(folder, "/deep/a.js", **{"if-none-match": first.headers["etag"]}).status_code == 200


def test_only_the_address_with_the_right_hash_is_kept_for_ever(folder: Path) -> None:
    """A page of another version must not leave this version's file under its own address."""
    right = StaticFiles(folder).address("deep/a.js").removeprefix("/static")
    assert "immutable" in get(folder, right).headers["cache-control"]
    assert "no-cache" in get(folder, "/deep/a.js?v=0123456789abcdef").headers["cache-control"]
    assert "no-cache" in get(folder, "/deep/a.js").headers["cache-control"]


@pytest.mark.parametrize("path", ["/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "/deep", "/", "/deep/../../x"])
def test_there_is_no_way_out_of_the_folder(folder: Path, path: str) -> None:
    assert get(folder, path).status_code == 404


def test_other_methods(folder: Path) -> None:
    head = get(folder, "/deep/a.js", "HEAD")
    assert (head.status_code, head.content, int(head.headers["content-length"])) == (200, b"", len(SCRIPT))
    assert get(folder, "/deep/a.js", "POST").status_code == 405
