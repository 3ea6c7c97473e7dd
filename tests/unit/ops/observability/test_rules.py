"""Rules, dashboard, metrics page: what they ask for is what a process has, and each alert has a runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.observability.metrics import declared, page

ROOT = Path(__file__).resolve().parents[4]
FOLDER = ROOT / "ops" / "observability"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted(FOLDER.glob("*.rules.yaml"))
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "koban.json").read_text("utf-8"))
KNOWN = {series for metric in declared() for series in metric.series}
LABELS = {series: set(metric.labels) | {"le"} for metric in declared() for series in metric.series}


def unknown(expression: str) -> set[str]:
    """Metrics that nobody has."""
    return {name for name in re.findall(r"koban_[a-z_]+", expression) if name not in KNOWN}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_can_fire_and_says_what_to_do(rule: dict[str, Any]) -> None:
    """A renamed metric would silence its alarm for good."""
    assert "koban_" in rule["expr"]
    assert unknown(rule["expr"]) == set()
    assert (ROOT / rule["annotations"]["runbook"]).is_file()
    assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rules_labels_are_those_of_its_metrics(rule: dict[str, Any]) -> None:
    """A misspelt label matches nothing, and the alert never fires."""
    for name, matchers in re.findall(r"(koban_[a-z_]+)\{([^}]*)\}", rule["expr"]):
        assert set(re.findall(r"([a-z_]+)=", matchers)) <= LABELS[name], name


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_a_panel_shows_what_a_process_measures(panel: dict[str, Any]) -> None:
    """An empty panel is worse than none."""
    for target in panel["targets"]:
        assert unknown(target["expr"]) == set()
        assert "koban_" in target["expr"]


def test_no_runbook_is_without_an_alert() -> None:
    """What nothing leads to is never read, and grows old."""
    named = {Path(rule["annotations"]["runbook"]).name for rule in RULES}
    assert {path.name for path in (ROOT / "docs" / "runbooks").glob("*.md")} == named


def test_links_between_runbooks_lead_somewhere() -> None:
    """Somebody follows them at night."""
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")):
            assert (path.parent / link).is_file(), f"{path.name}: {link}"


def test_the_metrics_page_is_up_to_date() -> None:
    """`python -m ops.observability.metrics > docs/metrics.md`"""
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == page(declared())


def test_no_metric_has_an_id_for_a_label() -> None:
    """A label a payment would bring down whoever keeps the figures, and leak what must not leak."""
    for metric in declared():
        assert not set(metric.labels) & {"payment", "payment_id", "wallet", "wallet_id", "merchant", "user", "event_id"}
