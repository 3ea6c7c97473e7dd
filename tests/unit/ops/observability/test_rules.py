"""The alert rules: every metric they ask for is one that a stage has, and each leads to a runbook that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]
RULES = [
    rule
    for path in sorted((ROOT / "ops" / "observability").glob("*.rules.yaml"))
    for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_can_fire_and_says_what_to_do(rule):
    """A renamed metric would silence its alarm for good."""
    asked = set(re.findall(r"koban_[a-z_]+", rule["expr"]))
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "streams").rglob("*.py"))
    assert asked
    assert {name for name in asked if f'"{name}"' not in source} == set()
    assert (ROOT / rule["annotations"]["runbook"]).is_file()
    assert rule["labels"]["severity"] in ("page", "ticket")
