"""The documented rights are those of the table."""

from __future__ import annotations

from dashboards.people.rights_page import PAGE, page


def test_the_page_says_what_the_table_says() -> None:
    """``python -m dashboards.people.rights_page`` writes it."""
    text = PAGE.read_text("utf-8")
    assert page(text) == text
