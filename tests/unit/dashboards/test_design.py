"""The design tokens: colours that can be read in both themes, and one scale of type."""

from __future__ import annotations

import re

import pytest

from dashboards.static_files import FOLDER

CSS = (FOLDER / "koban.css").read_text("utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
}
TEXT_CONTRAST_MIN = 4.5
SIGN_CONTRAST_MIN = 3.0
"""AA of what is no text: dots, lines of charts."""
GROUNDS = ("paper", "surface", "sunken")
TEXTS = [
    (ink, ground) for ink in ("ink", "ink-2", "ink-3", "indigo", "gold", "ok", "warn", "bad") for ground in GROUNDS
]
TEXTS += [(name, f"{name}-soft") for name in ("gold", "indigo", "ok", "warn", "bad")]
TEXTS += [("paper", "indigo")]


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_as_wcag_has_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXTS)
def test_texts_can_be_read(ink: str, ground: str, theme: int) -> None:
    """AA for every text colour on every ground that it is used on."""
    assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= TEXT_CONTRAST_MIN


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("ink", ["ok", "warn", "bad", "gold", "line-strong"])
def test_signs_can_be_seen(ink: str, ground: str, theme: int) -> None:
    assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= SIGN_CONTRAST_MIN


def test_type_is_of_one_scale() -> None:
    """No size beside the tokens, so that a new panel looks like the others."""
    rules = CSS.split("}", 1)[1]
    assert re.findall(r"font(?:-size)?: [^;}]*\dpx", rules) == []


def test_colours_are_tokens() -> None:
    """No colour beside them, so that both themes hold everywhere."""
    rules = CSS.split("}", 1)[1]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []
