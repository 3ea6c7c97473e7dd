"""What the table of balances in DynamoDB holds, read by a scan of verify's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from sinks.dynamodb import Signer

TABLE = "koban-balances"
TIMEOUT_S = 30.0


def read(url: str) -> dict[str, tuple[int, int, int]]:
    """Account → posted, version, and the version that the item itself is kept under. Raises OSError or HTTPError."""
    found = {}
    for item in _items(url):
        record = json.loads(item["body"]["S"])
        found[item["item_key"]["S"]] = record["posted_minor"], record["version"], int(item["version"]["N"])
    return found


def _items(url: str) -> Iterator[dict[str, Any]]:
    signer = Signer(os.environ)
    question: dict[str, Any] = {"TableName": TABLE, "ConsistentRead": True}
    with httpx.Client(timeout=TIMEOUT_S) as client:
        while True:
            body = json.dumps(question).encode()
            headers = signer.headers(urlsplit(url).netloc, "DynamoDB_20120810.Scan", body)
            answer = client.post(url, content=body, headers=headers)
            if answer.status_code != httpx.codes.OK:
                raise OSError(f"DynamoDB answers {answer.status_code}: {answer.text[:200]}")
            page = answer.json()
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            question["ExclusiveStartKey"] = page["LastEvaluatedKey"]
