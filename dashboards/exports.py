"""A list as data: JSON by the page, CSV and Parquet as a whole, sent while they are made."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dashboards.listing import PAGE_ROWS_MAX, Asked, Column, Kind, Listing, Row, Slice
from koban.business_time import to_datetime

Form = Literal["csv", "parquet"]
FORMS: tuple[Form, ...] = get_args(Form)
EXPORT_ROWS_MAX = 100_000
"""A larger export is cut there; what is larger is a question to the lake."""
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a text that begins so."""
BOM = "\ufeff"
"""Without it a spreadsheet reads Japanese as something else."""
MEDIA_TYPES: dict[Form, str] = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_TYPES: dict[Kind, Any] = {
    "yen": pa.int64(),
    "count": pa.int64(),
    "moment": pa.timestamp("us", tz="UTC"),
    "kinds": pa.list_(pa.string()),
}

Ask = Callable[[Asked], Awaitable[Slice]]
"""A list's source: a page of what is asked."""


def as_json(listing: Listing, page: Slice, **more: Any) -> JSONResponse:
    """One page: rows, total, facets and where the next page is."""
    rows = [{name_of(column): _plain(column, row) for column in listing.columns} for row in page.rows]
    return JSONResponse({"total": page.total, "rows": rows, "facets": page.counts, "next": page.next, **more})


async def as_file(listing: Listing, form: Form, ask: Asked, source: Ask) -> Response:
    """The whole list. Its first page is asked for before the answer begins, so that a source that is down is told."""
    ask = ask._replace(cursor=None, size=PAGE_ROWS_MAX)
    first = await source(ask)
    pages = _pages(first, ask, source)
    made = _csv(listing, pages) if form == "csv" else _parquet(listing, pages)
    headers = {
        "Content-Disposition": f'attachment; filename="{listing.name}.{form}"',
        "Cache-Control": "no-store",
        "X-Total-Count": str(first.total),
    }
    return StreamingResponse(made, media_type=MEDIA_TYPES[form], headers=headers)


def name_of(column: Column) -> str:
    """A column's name as data: instants are written with their zone, so they lose the unit."""
    return column.name.removesuffix("_us") if column.kind == "moment" else column.name


def safe(text: str) -> str:
    """A text that no spreadsheet runs."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


async def _pages(first: Slice, ask: Asked, source: Ask) -> AsyncIterator[Sequence[Row]]:
    page, sent = first, 0
    while True:
        rows = page.rows[: EXPORT_ROWS_MAX - sent]
        sent += len(rows)
        yield rows
        if page.next is None or sent >= EXPORT_ROWS_MAX:
            return
        page = await source(ask._replace(cursor=page.next))


async def _csv(listing: Listing, pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    yield (BOM + _lines([[name_of(column) for column in listing.columns]])).encode()
    async for rows in pages:
        yield _lines([_cell(column, row) for column in listing.columns] for row in rows).encode()


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _cell(column: Column, row: Row) -> Any:
    value = _plain(column, row)
    if isinstance(value, list):
        value = " ".join(value)
    return safe(value) if isinstance(value, str) else value


def _plain(column: Column, row: Row) -> Any:
    value = row.get(column.name)
    if column.kind == "moment" and value is not None:
        return to_datetime(value).isoformat()
    return list(value) if isinstance(value, tuple) else value


async def _parquet(listing: Listing, pages: AsyncIterator[Sequence[Row]]) -> AsyncIterator[bytes]:
    """A row group a page; what is written so far is sent on."""
    schema = pa.schema([(name_of(column), _TYPES.get(column.kind, pa.string())) for column in listing.columns])
    sent = _Sent()
    with pq.ParquetWriter(sent, schema, compression="zstd") as writer:
        async for rows in pages:
            writer.write_table(pa.table(_arrays(listing, rows, schema), schema=schema))
            yield sent.drained()
    yield sent.drained()


def _arrays(listing: Listing, rows: Sequence[Row], schema: Any) -> dict[str, Any]:
    return {
        name_of(column): pa.array([row.get(column.name) for row in rows], type=schema.field(name_of(column)).type)
        for column in listing.columns
    }


class _Sent(io.RawIOBase):
    """A file that is written from front to back and keeps only what was not sent yet."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raw = bytes(data)
        self._kept += raw
        self._length += len(raw)
        return len(raw)

    def tell(self) -> int:
        return self._length

    def drained(self) -> bytes:
        """What was written since the last call."""
        raw = bytes(self._kept)
        self._kept.clear()
        return raw
