"""The settings page says what the settings are: each one, with its meaning."""

from koban.settings import Settings
from ops.settings_page import PAGE, page


def test_the_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "run `python -m ops.settings_page`"


def test_every_setting_says_what_it_means():
    empty = [line for line in page().splitlines() if line.startswith("| `KOBAN_") and line.endswith("|  |")]
    assert empty == []
    assert page().count("| `KOBAN_") == len(Settings.__struct_fields__)
