"""DynamoDB's sink without an engine: its signature, what it refuses itself, and a server that is not there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from sinks.contract import Item
from sinks.dynamodb import ITEM_BYTES_MAX, DynamoDbSink, Signer
from sinks.testing import outcomes

NOBODY = "http://127.0.0.1:1"


def test_a_signature_covers_body_target_and_token() -> None:
    """Another body, another target or another token is another signature; the same request has the same."""

    def signed(body: bytes = b"{}", target: str = "T.PutItem", token: str = "t") -> str:
        environ = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": token}
        signer = Signer(environ, lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        return signer.headers("dynamodb.ap-northeast-1.amazonaws.com", target, body)["authorization"]

    first = signed()
    assert first == signed()
    assert len({first, signed(b"{ }"), signed(target="T.GetItem"), signed(token="u")}) == 4
    scope = "Credential=AKID/20260102/ap-northeast-1/dynamodb/aws4_request"
    names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
    assert scope in first
    assert names in first


def test_what_can_never_be_written_is_refused_and_the_rest_waits_for_the_server() -> None:
    items = [
        Item("balances", "a", b"{}"),
        Item("balances", "", b"{}"),
        Item("balances", "b", b"[1]"),
        Item("balances", "c", b"{" + b" " * ITEM_BYTES_MAX),
        Item("b/c", "d", b"{}"),
        Item("balances", "e", None),
    ]

    async def scenario() -> list[str]:
        sink = DynamoDbSink(NOBODY)
        results = await sink.write(items)
        await sink.close()
        assert all(result.reason for result in results)
        return outcomes(results)

    assert asyncio.run(scenario()) == ["retry", "refused", "refused", "refused", "refused", "retry"]
