"""Payment documents in OpenSearch, looked up by payment: what the indexing stage needs beside writing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from koban.search.document import UNPLACED, PaymentDocument, encode
from schemas.errors import Transient
from sinks.contract import Item
from sinks.opensearch_http import OpenSearchHttp

ALIAS = "payments"
"""What is searched: every month's index and the one of documents that have no month yet."""


class Place(msgspec.Struct, frozen=True):
    """Where a payment's document may be."""

    index: str
    payment_id: str
    merchant_id: str


class PaymentStore(Protocol):
    """Documents by payment."""

    async def get(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """The documents at these places as they are this instant, searchable yet or not. Raises Transient."""
        ...

    async def find(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """The documents of these payments wherever they are; the places' index is not looked at. Raises Transient."""
        ...

    async def unplaced(self) -> int:
        """How many documents wait for their payment's opening event. Raises Transient."""
        ...

    async def refresh_unplaced(self) -> None:
        """Make ``unplaced`` count what was written. Raises Transient."""
        ...

    async def indices(self) -> set[str]:
        """The indices that payments are in. Raises Transient."""
        ...

    async def create(self, index: str) -> None:
        """Create an index of payments, unless it is there. Raises Transient."""
        ...


def item_of(document: PaymentDocument) -> Item:
    """A document as it is written: the number of its events is its version."""
    return Item(document.index(), document.payment_id, encode(document), document.index_version(), document.merchant_id)


def removal_of(document: PaymentDocument) -> Item:
    """What removes a document from the unplaced ones once it has its place."""
    return Item(UNPLACED, document.payment_id, None, routing=document.merchant_id)


class _Doc(msgspec.Struct):
    _source: PaymentDocument | None = None
    found: bool = False
    error: msgspec.Raw = msgspec.Raw()


class _MultiGet(msgspec.Struct):
    docs: list[_Doc]


class _Hit(msgspec.Struct):
    _source: PaymentDocument


class _Hits(msgspec.Struct):
    hits: list[_Hit]


class _Search(msgspec.Struct):
    hits: _Hits


class _Count(msgspec.Struct):
    count: int


_EXISTS = b'"resource_already_exists_exception"'
_MISSING_INDEX = b'"index_not_found_exception"'
_FOUND_MAX = 10_000
_TIMEOUT_S = 10.0


class OpenSearchPayments:
    """``PaymentStore`` over OpenSearch."""

    def __init__(self, url: str) -> None:
        self._http = OpenSearchHttp(url, timeout_s=_TIMEOUT_S)

    async def get(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """See ``PaymentStore.get``. An index that is not there holds nothing."""
        if not places:
            return {}
        wanted = [{"_index": p.index, "_id": p.payment_id, "routing": p.merchant_id} for p in places]
        docs = msgspec.json.decode(await self._http.ask("POST", "/_mget", _json({"docs": wanted})), type=_MultiGet).docs
        for doc in docs:
            if doc.error and _MISSING_INDEX not in bytes(doc.error):
                raise Transient(f"OpenSearch cannot look a payment up: {bytes(doc.error)[:200].decode()}")
        return _by_payment(doc._source for doc in docs if doc.found)

    async def find(self, places: Sequence[Place]) -> dict[str, list[PaymentDocument]]:
        """See ``PaymentStore.find``. Slow, as it makes everything written searchable first: for the odd ones."""
        if not places:
            return {}
        await self._http.ask("POST", f"/{ALIAS}/_refresh")
        query = {"size": _FOUND_MAX, "query": {"ids": {"values": sorted({place.payment_id for place in places})}}}
        hits = msgspec.json.decode(await self._http.ask("POST", f"/{ALIAS}/_search", _json(query)), type=_Search)
        return _by_payment(hit._source for hit in hits.hits.hits)

    async def unplaced(self) -> int:
        """See ``PaymentStore.unplaced``."""
        return msgspec.json.decode(await self._http.ask("GET", f"/{UNPLACED}/_count"), type=_Count).count

    async def refresh_unplaced(self) -> None:
        """See ``PaymentStore.refresh_unplaced``."""
        await self._http.ask("POST", f"/{UNPLACED}/_refresh")

    async def indices(self) -> set[str]:
        """See ``PaymentStore.indices``."""
        return set(msgspec.json.decode(await self._http.ask("GET", f"/_alias/{ALIAS}"), type=dict[str, msgspec.Raw]))

    async def create(self, index: str) -> None:
        """See ``PaymentStore.create``. Its mappings and aliases come from the template."""
        status, answer = await self._http.request("PUT", f"/{index}")
        if status != 200 and _EXISTS not in answer:
            raise Transient(f"index {index} can't be created: {answer[:200].decode(errors='replace')}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def _by_payment(documents: Iterable[PaymentDocument | None]) -> dict[str, list[PaymentDocument]]:
    found: dict[str, list[PaymentDocument]] = {}
    for document in documents:
        if document is not None:
            found.setdefault(document.payment_id, []).append(document)
    return found


def _json(body: object) -> bytes:
    return msgspec.json.encode(body)
