"""Static files from memory: compressed once, named by their content's hash, and never sent twice to a browser."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static"
FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "public, no-cache"
HASH_CHARACTERS = 16
_TEXT = ("text/", "image/svg+xml")


class _File(NamedTuple):
    media_type: str
    plain: bytes
    compressed: bytes | None
    """None when it would not be smaller."""
    digest: str


class StaticFiles:
    """An ASGI application over a folder. Files are read once; there is no path that leads out of the folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): _read(path) for path in sorted(folder.rglob("*")) if path.is_file()
        }

    def address(self, name: str) -> str:
        """The address of a file, with its hash, so that it can be kept for ever. Raises KeyError."""
        return f"{PREFIX}/{name}?v={self._files[name].digest}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope)
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        await self._answer(request, self._files.get(name))(scope, receive, send)

    def _answer(self, request: Request, file: _File | None) -> Response:
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("method not allowed", 405, headers={"Allow": "GET, HEAD"})
        if file is None:
            return PlainTextResponse("not found", 404)
        packed = file.compressed is not None and _takes_gzip(request)
        etag = f'"{file.digest}{"-gz" if packed else ""}"'
        headers = {"ETag": etag, "Cache-Control": _cache(request.query_params, file), "Vary": "Accept-Encoding"}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = file.compressed if packed and file.compressed is not None else file.plain
        response = Response(body, headers=headers, media_type=file.media_type)
        if request.method == "HEAD":
            response.body = b""
        return response


def _cache(parameters: QueryParams, file: _File) -> str:
    return FOR_EVER if parameters.get("v") == file.digest else ASK_AGAIN


def _takes_gzip(request: Request) -> bool:
    return any(part.split(";")[0].strip() == "gzip" for part in request.headers.get("accept-encoding", "").split(","))


def _read(path: Path) -> _File:
    plain = path.read_bytes()
    media_type = mimetypes.types_map.get(path.suffix, "application/octet-stream")
    if path.suffix == ".js":
        media_type = "text/javascript"
    compressed = gzip.compress(plain, 9, mtime=0) if media_type.startswith(_TEXT) else b""
    smaller = compressed if compressed and len(compressed) < len(plain) else None
    return _File(media_type, plain, smaller, hashlib.sha256(plain).hexdigest()[:HASH_CHARACTERS])
