"""Who runs: what a choice of names means, and that every component's needs exist."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from ops.engines import apps, roster
from ops.engines.site import plan


def test_no_choice_is_everything() -> None:
    everything = roster.chosen((), with_apps=True)
    assert {process for engine in roster.STANDARD for process in roster.PROCESSES[engine]} < set(everything)
    assert not set(roster.OPTIONAL) & set(everything)
    assert apps.TOPICS in everything
    assert set(apps.NAMES) < set(everything)


def test_an_optional_engine_comes_on_top() -> None:
    assert roster.chosen((), with_apps=False, extras=("dynamodb",))[-1] == "dynamodb"
    assert roster.chosen(("kafka",), with_apps=True, extras=("dynamodb",)) == ("kafka", "dynamodb")
    assert roster.chosen(("dynamodb",), with_apps=True) == ("dynamodb",)


def test_engines_alone() -> None:
    assert roster.chosen((), with_apps=False) == (
        *("kafka", "flink-jobmanager", "flink-taskmanager", "opensearch", "mariadb"),
    )


def test_an_app_brings_the_topics_step() -> None:
    assert roster.chosen(("kafka", "gate"), with_apps=True) == (apps.TOPICS, "kafka", "gate")
    assert roster.chosen(("flink",), with_apps=True) == ("flink-jobmanager", "flink-taskmanager")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown: kafak; there are kafka, flink"):
        roster.chosen(("kafak",), with_apps=True)


def test_every_app_is_in_this_checkout() -> None:
    for app in apps.APPS:
        package = find_spec(app.module)
        assert package is not None, app.name
        assert package.submodule_search_locations is None or find_spec(f"{app.module}.__main__"), app.name


def test_needs_are_components_and_form_no_circle(tmp_path: Path) -> None:
    here = plan(tmp_path, (), apps.METRICS, {}, running=False)
    needs = {part.name: part.after for part in apps.components(here)}
    known = {*needs, *roster.chosen((), with_apps=False)}
    assert all(need in known for after in needs.values() for need in after)
    while needs:
        ready = [name for name, after in needs.items() if not set(after) & set(needs)]
        assert ready
        for name in ready:
            del needs[name]
