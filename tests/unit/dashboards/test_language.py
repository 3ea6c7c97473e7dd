"""No page asks for a text that is not there, in either language."""

from __future__ import annotations

import importlib
import pkgutil
import re
import string
from pathlib import Path

import pytest

from dashboards import desks
from dashboards.books import FAMILIES
from dashboards.desks import DESKS
from dashboards.desks.payments import PAYMENTS
from dashboards.exports import FORMS
from dashboards.language import CATALOGUE, LANGUAGES, MissingMessageError, message, messages, negotiated
from dashboards.listing import Listing
from dashboards.sources.platform import Component
from dashboards.view import ZONES
from koban.events import KINDS
from koban.search.document import INDEXED, Status
from koban.search.query import Field
from koban.search.request import FACETS

FOLDER = CATALOGUE.parent
USED = re.compile(r"""["']([a-z]+\.[A-Za-z0-9_]+)["']""")
BUILT = re.compile(r"""["']([a-z]+\.)["'] ~""")
LISTS = [
    value
    for module in pkgutil.iter_modules(desks.__path__, f"{desks.__name__}.")
    for value in vars(importlib.import_module(module.name)).values()
    if isinstance(value, Listing)
]
"""Every list of every desk."""
MADE = {
    *(f"{listing.name}.{column.name}" for listing in LISTS for column in listing.shown),
    *(f"facet.{facet}" for listing in LISTS for facet in listing.facets),
    *(f"facet.{field.value}" for field in FACETS),
    *(f"export.{form}" for form in ("json", *FORMS)),
    *(f"{listing.name}.{text}" for listing in LISTS if listing is not PAYMENTS for text in ("find", "empty")),
    *(f"nav.{desk.name}" for desk in DESKS),
    *(f"zone.{zone}" for zone in ZONES),
    *(f"status.{status.value}" for status in Status),
    *(f"kind.{kind}" for kind in KINDS),
    *(f"event.{name}" for name in INDEXED),
    *(f"chip.{field.value}" for field in Field if field is not Field.AT),
    *(
        f"source.{source}"
        for source in ("workers", "topics", "index", "platform", "offsets", "flink", "mysql", "lake_files", "reports")
    ),
    *(f"family.{family}" for family in FAMILIES),
    *(f"verdict.{verdict}" for verdict in ("balanced", "out")),
    *(f"intake.{part}" for part in ("valid", "duplicates", "dead_letters", "waiting")),
    *(f"trace.{store}" for store in ("index", "kafka")),
    *(f"health.{health}" for health in ("healthy", "starting", "waiting", "unhealthy")),
}
"""Keys that are put together of parts."""


def sources() -> str:
    """Every template and module of the console."""
    files = [*FOLDER.rglob("*.j2"), *FOLDER.rglob("*.py")]
    return "\n".join(path.read_text("utf-8") for path in files)


def test_every_message_has_both_languages() -> None:
    """And both take the same values."""
    for key, texts in messages().items():
        assert set(texts) == set(LANGUAGES), key
        fields = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in texts.values()]
        assert fields[0] == fields[1], key


def test_every_key_that_is_asked_for_is_there() -> None:
    """Written out or put together."""
    prefixes = {key.split(".")[0] for key in messages()}
    asked = {key for key in USED.findall(sources()) if key.split(".")[0] in prefixes} | MADE
    files = {path.name for path in Path(FOLDER).rglob("*.*")}
    assert {key for key in asked if key not in messages() and key not in files} == set()


def test_no_message_is_left_over() -> None:
    """A text that no page shows any more is deleted."""
    text = sources()
    built = {f"{prefix}" for prefix in BUILT.findall(text)}
    unused = {key for key in messages() if key not in USED.findall(text) and key not in MADE}
    assert sorted(key for key in unused if not any(key.startswith(prefix) for prefix in built)) == []


def test_a_missing_message_is_an_error() -> None:
    """Not an empty place on a page."""
    with pytest.raises(MissingMessageError):
        message("en", "no.such")
    assert Component().restarts == 0


@pytest.mark.parametrize(
    ("asked", "remembered", "accept", "expected"),
    [
        ("en", "ja", "ja", "en"),
        ("fr", "en", "ja", "en"),
        (None, None, "en-GB,en;q=0.9,ja;q=0.8", "en"),
        (None, None, "fr, ja;q=0.3, en;q=0.5", "en"),
        (None, None, "de;q=x, ja", "ja"),
        (None, None, None, "ja"),
    ],
)
def test_the_language_is_negotiated(
    asked: str | None, remembered: str | None, accept: str | None, expected: str
) -> None:
    """The address first, then the last choice, then the browser; Japanese when nothing fits."""
    assert negotiated(asked, remembered, accept) == expected
