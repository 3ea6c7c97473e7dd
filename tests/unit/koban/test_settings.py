"""Settings come from the environment, survive a round trip to a child process, and name what does not fit."""

from pathlib import Path

import pytest

from koban.settings import Settings


def test_a_child_process_gets_the_same_settings():
    settings = Settings.from_environ({"HOME": "/home/a", "KOBAN_KAFKA_BOOTSTRAP": "127.0.0.1:1234"})
    assert Settings.from_environ(settings.environ()) == settings
    assert settings.lake_dir == Path("/home/a/.local/share/koban/default/lake")


def test_a_setting_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="KOBAN_METRICS_PORT='eighty'"):
        Settings.from_environ({"HOME": "/", "KOBAN_METRICS_PORT": "eighty"})
