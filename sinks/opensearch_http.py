"""One connection pool to OpenSearch for the hot paths: raw bytes in and out, no client library in between."""

from __future__ import annotations

import aiohttp

from schemas.errors import Transient

BUSY = frozenset({429, 500, 502, 503, 504})
"""Answers after which the same request may work later."""


class OpenSearchHttp:
    """Sends requests. Opens its session at the first one, in the event loop that sends it."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body. Raises Transient when there was no answer."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers={"content-type": "application/x-ndjson"}
            )
        try:
            async with self._session.request(method, self._url + path, data=body) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"OpenSearch does not answer: {type(error).__name__}: {error}") from error

    async def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of a good answer. Raises Transient on any other, for what asks is always well-formed."""
        status, answer = await self.request(method, path, body)
        if status not in (200, 201):
            raise Transient(f"OpenSearch answers {status}: {answer[:200].decode(errors='replace')}")
        return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
