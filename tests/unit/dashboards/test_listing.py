"""The shared list: what an address asks, which rows it gets, and the same as data."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from dashboards.exports import BOM, EXPORT_ROWS_MAX, FORMULA_SIGNS, Form, as_file, as_json
from dashboards.listing import (
    Asked,
    BadListError,
    Column,
    Listing,
    Slice,
    asked,
    facets,
    opened,
    order_address,
    sealed,
    select,
)
from dashboards.view import toggled

BIRDS = Listing(
    name="birds",
    path="/birds",
    columns=(
        Column("id", "mono"),
        Column("name", sorts=True),
        Column("kind", "tag"),
        Column("weight_minor", "yen", sorts=True),
        Column("seen_us", "moment", sorts=True),
        Column("places", "kinds"),
    ),
    key="id",
    order="-seen_us",
    facets=("kind",),
)


def bird(number: int, **more: Any) -> dict[str, Any]:
    plain = {"id": f"b-{number:03}", "name": f"bird {number}", "kind": "owl", "weight_minor": number, "seen_us": number}
    return plain | {"places": ("渋谷", "上野")} | more


def ask(query: str = "", listing: Listing = BIRDS) -> Asked:
    return asked(QueryParams(query), listing)


def request(query: str = "") -> Request:
    return Request({"type": "http", "path": "/birds", "query_string": query.encode(), "headers": []})


def names(page: Slice) -> list[str]:
    return [row["id"] for row in page.rows]


FLOCK = [bird(1, kind="owl"), bird(2, kind="crow"), bird(3, kind="crow", name="渋谷の烏"), bird(4, kind="duck")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [4, 3, 2, 1]),
        ("sort=seen_us", [1, 2, 3, 4]),
        ("sort=-weight_minor", [4, 3, 2, 1]),
        ("kind=crow", [3, 2]),
        ("kind=crow&kind=duck", [4, 3, 2]),
        ("q=BIRD", [4, 2, 1]),
        ("q=渋谷の烏", [3]),
        ("q=crow bird", [2]),
        ("q=crow&kind=owl", []),
        ("size=2", [4, 3]),
        ("unknown=1", [4, 3, 2, 1]),
    ],
)
def test_an_address_gets_its_rows(query: str, expected: list[int]) -> None:
    assert names(select(BIRDS, FLOCK, ask(query))) == [f"b-{number:03}" for number in expected]


def test_a_facet_counts_what_could_be_chosen_besides() -> None:
    """Its own choice does not narrow it, everything else does."""
    assert select(BIRDS, FLOCK, ask("kind=owl")).counts == {"kind": {"owl": 1, "crow": 2, "duck": 1}}
    assert select(BIRDS, FLOCK, ask("kind=owl&q=bird")).counts == {"kind": {"owl": 1, "crow": 1, "duck": 1}}
    assert select(BIRDS, FLOCK, ask("kind=owl")).total == 1


def test_facets_are_addresses() -> None:
    """Each value's address has it switched, from the first page; what is chosen comes first, even if it has no rows."""
    query = "q=bird&kind=heron&cursor=abc"
    (heron, crow, *_) = facets(request(query), ask(query), select(BIRDS, FLOCK, ask("q=b")).counts)["kind"]
    assert (heron.value, heron.rows, heron.chosen, heron.href) == ("heron", 0, True, "/birds?q=bird")
    assert (crow.chosen, crow.href) == (False, "/birds?q=bird&kind=heron&kind=crow")
    assert toggled(request("kind=a&kind=b"), "kind", "a") == "/birds?kind=b"


def test_sort_addresses() -> None:
    """Falling first, then rising; the list's own order leaves the address."""
    assert order_address(request(), BIRDS, ask(), "weight_minor") == "/birds?sort=-weight_minor"
    again = "sort=-weight_minor&cursor=x"
    assert order_address(request(again), BIRDS, ask(again), "weight_minor") == "/birds?sort=weight_minor"
    assert order_address(request("sort=name"), BIRDS, ask("sort=name"), "seen_us") == "/birds"


ROWS = st.lists(
    st.builds(bird, st.integers(0, 30), weight_minor=st.none() | st.integers(-3, 3), seen_us=st.integers(0, 5)),
    unique_by=lambda row: row["id"],
    max_size=25,
)


@given(ROWS, st.sampled_from(["seen_us", "-seen_us", "weight_minor", "-weight_minor", "name"]), st.integers(1, 7))
def test_pages_together_are_the_list(rows: list[dict[str, Any]], sort: str, size: int) -> None:
    """Nothing is shown twice or left out, whatever ties there are."""
    wanted = Asked("", {}, sort, None, size)
    whole = names(select(BIRDS, rows, wanted._replace(size=200)))
    assert sorted(whole) == sorted(row["id"] for row in rows)
    read: list[str] = []
    while True:
        page = select(BIRDS, rows, wanted)
        read += names(page)
        if page.next is None:
            break
        wanted = wanted._replace(cursor=page.next)
    assert read == whole


def test_a_place_holds_while_rows_arrive() -> None:
    """New rows in front move nothing: the next page goes on behind the last row that was shown."""
    first = select(BIRDS, FLOCK, ask("size=2"))
    grown = [*FLOCK, bird(9), bird(8)]
    assert names(select(BIRDS, grown, ask("size=2")._replace(cursor=first.next))) == ["b-002", "b-001"]


@pytest.mark.parametrize(
    "query", ["sort=kind", "sort=nothing", "size=0", "size=201", "size=x", "size=٣", f"size={'9' * 5000}"]
)
def test_what_the_list_does_not_have_is_told(query: str) -> None:
    with pytest.raises(BadListError):
        ask(query)


def test_too_many_values_are_told() -> None:
    with pytest.raises(BadListError, match="50"):
        ask("&".join(f"kind={number}" for number in range(51)))


@given(st.text(max_size=60))
def test_made_up_cursors_are_refused(text: str) -> None:
    with pytest.raises(BadListError):
        opened(text + "!", BIRDS, "-seen_us")


def test_a_cursor_is_of_one_list_and_order() -> None:
    cursor = sealed(BIRDS, "-seen_us", (7, "b-1"))
    assert opened(cursor, BIRDS, "-seen_us") == (7, "b-1")
    for listing, sort in ((BIRDS, "seen_us"), (BIRDS._replace(name="fish"), "-seen_us")):
        with pytest.raises(BadListError):
            opened(cursor, listing, sort)


def exported(form: Form, rows: list[dict[str, Any]], query: str = "") -> bytes:
    async def source(wanted: Asked) -> Slice:
        return select(BIRDS, rows, wanted)

    async def whole() -> bytes:
        answer = await as_file(BIRDS, form, ask(query), source)
        assert isinstance(answer, StreamingResponse)
        return b"".join([part if isinstance(part, bytes) else b"" async for part in answer.body_iterator])

    return asyncio.run(whole())


@pytest.mark.parametrize("sign", FORMULA_SIGNS)
def test_no_spreadsheet_runs_an_export(sign: str) -> None:
    """A text that would be a formula is text; a number stays a number."""
    evil = f"{sign}cmd|' /C calc'!A0"
    text = exported("csv", [bird(1, name=evil, weight_minor=-5)]).decode()
    assert text.startswith(BOM)
    header, row = csv.reader(io.StringIO(text.removeprefix(BOM), newline=""))
    values = dict(zip(header, row, strict=True))
    assert values["name"] == f"'{evil}"
    assert values["weight_minor"] == "-5"
    assert values["seen"] == "1970-01-01T00:00:00.000001+00:00"
    assert values["places"] == "渋谷 上野"


def test_parquet_is_the_whole_list_with_its_types() -> None:
    """All pages of what the address asks, in its order."""
    rows = [bird(number, name="=1+1") for number in range(450)]
    table = pq.read_table(io.BytesIO(exported("parquet", rows, "sort=seen_us&size=1&cursor=ignored")))
    assert table.num_rows == 450
    assert table.column("weight_minor").to_pylist() == list(range(450))
    assert table.column("name").to_pylist()[0] == "=1+1", "data is not touched: nothing runs it"
    assert str(table.schema.field("seen").type) == "timestamp[us, tz=UTC]"


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_of_nothing_has_its_columns(form: Form) -> None:
    raw = exported(form, [])
    if form == "csv":
        assert raw.decode() == f"{BOM}id,name,kind,weight_minor,seen,places\r\n"
    else:
        assert pq.read_table(io.BytesIO(raw)).column_names == ["id", "name", "kind", "weight_minor", "seen", "places"]


def test_an_export_has_an_end() -> None:
    """A source that never ends is cut."""

    async def source(wanted: Asked) -> Slice:
        return Slice([bird(1)] * 60_000, 1_000_000, "more", {})

    async def count() -> int:
        answer = await as_file(BIRDS, "csv", ask(), source)
        assert isinstance(answer, StreamingResponse)
        return sum([bytes(part).count(b"\r\n") async for part in answer.body_iterator if isinstance(part, bytes)])

    assert asyncio.run(count()) == EXPORT_ROWS_MAX + 1


def test_json_is_a_page() -> None:
    page = select(BIRDS, FLOCK, ask("size=1"))
    body = bytes(as_json(BIRDS, page, complete_to=None).body)
    assert b'"total":4' in body
    assert b'"seen":"1970-01-01T00:00:00.000004+00:00"' in body
    assert b'"next":"' in body
