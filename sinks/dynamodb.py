"""DynamoDB as a sink: the latest version of each item, put on the condition that it is newer than what is there.

Requests are signed here (Signature Version 4), so that no SDK comes along for four operations. Credentials are those
of the ``AWS_*`` variables; DynamoDB Local takes any.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from schemas.errors import Transient
from sinks.contract import WRITTEN, Item, Outcome, Result

REQUESTS_IN_FLIGHT_MAX = 32
TIMEOUT_S = 8.0
ITEM_BYTES_MAX = 390_000
"""DynamoDB takes 400 KB with all names."""
KEY_BYTES_MAX = 2_048

_TABLE = re.compile(r"[A-Za-z0-9._-]{3,200}")
_TARGET = "DynamoDB_20120810."
_NOT_THE_ITEMS_FAULT = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "AccessDeniedException",
        "LimitExceededException",
    }
)


class Signer:
    """Signs requests for DynamoDB. ``environ`` holds the credentials, ``now`` tells the time."""

    def __init__(self, environ: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._key = environ.get("AWS_ACCESS_KEY_ID", "local")
        self._secret = environ.get("AWS_SECRET_ACCESS_KEY", "local")
        self._token = environ.get("AWS_SESSION_TOKEN")
        self._region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "ap-northeast-1"
        self._now = now

    def headers(self, host: str, target: str, body: bytes) -> dict[str, str]:
        """All headers of a POST to ``/``."""
        stamp = self._now().strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "host": host,
            "x-amz-date": stamp,
            "x-amz-target": target,
        }
        if self._token:
            headers["x-amz-security-token"] = self._token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{stamp[:8]}/{self._region}/dynamodb/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self._key}/{scope}"
        headers["authorization"] = f"{credential}, SignedHeaders={names}, Signature={signature}"
        return headers


class DynamoDbSink:
    """Keeps each item's highest version in the table that its index names, behind ``prefix``.

    A table has the string key ``item_key``, and the attributes ``version`` and ``body``.
    """

    def __init__(self, url: str, *, prefix: str = "koban-", signer: Signer | None = None) -> None:
        self._url = url
        self._host = urlsplit(url).netloc
        self._prefix = prefix
        self._signer = signer or Signer(os.environ)
        self._session: aiohttp.ClientSession | None = None
        self._in_flight = asyncio.Semaphore(REQUESTS_IN_FLIGHT_MAX)

    async def ensure(self, index: str) -> None:
        """Creates the table of an index unless it is there. Raises Transient."""
        table = {
            "TableName": self._prefix + index,
            "AttributeDefinitions": [{"AttributeName": "item_key", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "item_key", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }
        kind, reason = await self._ask("CreateTable", table)
        if kind not in ("", "ResourceInUseException"):
            raise Transient(f"DynamoDB does not make the table {index}: {kind}: {reason}")

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """See ``Sink.write``. Items of one key are written one after another, others side by side."""
        by_key: dict[tuple[str, str], list[int]] = {}
        for at, item in enumerate(items):
            by_key.setdefault((item.index, item.key), []).append(at)
        results: list[Result] = [WRITTEN] * len(items)

        async def in_order(places: list[int]) -> None:
            for at in places:
                results[at] = await self._write(items[at])

        await asyncio.gather(*(in_order(places) for places in by_key.values()))
        return results

    async def get(self, index: str, key: str) -> tuple[int, bytes] | None:
        """Version and body of an item as it is this instant. Raises Transient."""
        question = {"TableName": self._prefix + index, "Key": _key(key), "ConsistentRead": True}
        status, answer = await self._request("GetItem", question)
        if status != 200:
            raise Transient(f"DynamoDB answers {status}: {answer}")
        item = answer.get("Item")
        return None if item is None else (int(item["version"]["N"]), item["body"]["S"].encode())

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _write(self, item: Item) -> Result:
        if fault := _fault(self._prefix, item):
            return Result(Outcome.REFUSED, fault)
        table = self._prefix + item.index
        try:
            if item.body is None:
                kind, reason = await self._ask("DeleteItem", {"TableName": table, "Key": _key(item.key)})
            else:
                version = {"N": str(item.version)}
                row = {**_key(item.key), "version": version, "body": {"S": item.body.decode()}}
                put = {"TableName": table, "Item": row, "ExpressionAttributeValues": {":version": version}}
                put["ConditionExpression"] = "attribute_not_exists(item_key) OR version < :version"
                kind, reason = await self._ask("PutItem", put)
        except Transient as error:
            return Result(Outcome.RETRY, error.reason)
        if not kind:
            return WRITTEN
        if kind == "ConditionalCheckFailedException":
            return Result(Outcome.STALE, "this version or a newer one is there")
        return Result(Outcome.RETRY if kind in _NOT_THE_ITEMS_FAULT else Outcome.REFUSED, f"{kind}: {reason}")

    async def _ask(self, operation: str, question: dict[str, Any]) -> tuple[str, str]:
        """Kind of error and its text, both empty when it worked. Raises Transient for a server's fault."""
        status, answer = await self._request(operation, question)
        if status == 200:
            return "", ""
        kind = str(answer.get("__type", "")).rpartition("#")[2]
        reason = str(answer.get("message") or answer.get("Message") or "")
        if status >= 500 or not kind:
            raise Transient(f"DynamoDB answers {status}: {reason}")
        return kind, reason

    async def _request(self, operation: str, question: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        body = orjson.dumps(question)
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._in_flight:
                headers = self._signer.headers(self._host, _TARGET + operation, body)
                async with self._session.post(self._url, data=body, headers=headers) as response:
                    answer = orjson.loads(await response.read() or b"{}")
                    return response.status, answer if isinstance(answer, dict) else {}
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise Transient(f"DynamoDB does not answer: {type(error).__name__}: {error}") from error


def _key(key: str) -> dict[str, Any]:
    return {"item_key": {"S": key}}


def _fault(prefix: str, item: Item) -> str:
    if _TABLE.fullmatch(prefix + item.index) is None:
        return f"{item.index!r} is no table"
    if not 0 < len(item.key.encode()) <= KEY_BYTES_MAX:
        return f"a key has 1 to {KEY_BYTES_MAX} bytes"
    if item.body is None:
        return ""
    if not item.body.startswith(b"{"):
        return "the body is no JSON object"
    if len(item.body) > ITEM_BYTES_MAX:
        return f"the body has more than {ITEM_BYTES_MAX} bytes"
    try:
        item.body.decode()
    except UnicodeDecodeError:
        return "the body is no UTF-8"
    return ""
