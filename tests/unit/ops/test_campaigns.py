"""Campaigns as data: what a file may say, and when a definition is published."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from koban.records import Campaign
from ops.campaigns import CampaignRefusedError, _in_time, _successor, funding, parse, read
from ops.cli.campaigns import campaigns
from schemas import codec

FILE = """\
campaign_id: autumn-1
version: 1
name: 秋の20%還元
starts_at: 2026-11-01T00:00:00+09:00
ends_at: 2026-12-01T00:00:00+09:00
rate_bp: 2000
cap_per_payment_minor: 1000
budget_minor: 5000000
"""
LEAD_S = 5


def definition(**changes: object) -> Campaign:
    fields = {
        "campaign_id": "autumn-1",
        "version": 1,
        "name": "n",
        "starts_at_us": 1_760_000_000_000_000,
        "ends_at_us": 1_770_000_000_000_000,
        "rate_bp": 2_000,
        "cap_per_payment_minor": 1_000,
        "budget_minor": 5_000,
    }
    return msgspec.convert({**fields, **changes}, Campaign)


def test_a_file_may_write_times_with_their_zone(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(FILE, "utf-8")
    campaign = read(file)
    assert campaign.starts_at_us == 1_793_458_800_000_000
    assert campaign.ends_at_us - campaign.starts_at_us == 30 * 86_400_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 20}, "unknown fields: rate"),
        ({"budget_minor": 0}, "budget_minor"),
        ({"budget_minor": 10.5}, "budget_minor"),
        ({"starts_at": "2026-11-01T00:00:00"}, "has no zone"),
        ({"starts_at": "soon"}, "expected a time"),
        ({"ends_at_us": 1_760_000_000_000_000}, "not after"),
        ({"funded_by": "merchant"}, "sponsor_id is missing"),
    ],
)
def test_a_file_that_is_no_campaign_is_refused_by_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CampaignRefusedError, match=message):
        parse({**msgspec.to_builtins(definition()), **changes})


def test_a_start_that_is_too_near_moves_and_a_later_one_stays() -> None:
    start = definition().starts_at_us
    assert _in_time(definition(), start, LEAD_S).starts_at_us == start + 5_000_000
    assert _in_time(definition(), start - 5_000_001, LEAD_S).starts_at_us == start


def test_a_campaign_that_is_over_is_refused() -> None:
    with pytest.raises(CampaignRefusedError, match="over or too soon"):
        _in_time(definition(), definition().ends_at_us, LEAD_S)


def test_a_new_version_keeps_the_start_and_its_budget_can_only_grow() -> None:
    before = definition()
    after = definition(version=2, starts_at_us=before.starts_at_us + 1, budget_minor=6_000)
    assert _successor(before, after).starts_at_us == before.starts_at_us
    with pytest.raises(CampaignRefusedError, match="give the new one version 2"):
        _successor(before, before)
    with pytest.raises(CampaignRefusedError, match="can only grow"):
        _successor(before, definition(version=2, budget_minor=4_999))


@pytest.mark.parametrize("by", ["promo", "sponsor", "merchant"])
def test_funding_is_a_valid_event_that_names_who_pays(by: str) -> None:
    campaign = definition(funded_by=by, sponsor_id=None if by == "promo" else "s-1")
    event = funding(campaign, 5_000, ("a", "b"), campaign.starts_at_us)
    assert codec.decode(codec.encode(event)) == event
    assert event.body.merchant_id == ("s-1" if by == "merchant" else None)
    assert event.body.sponsor_id == ("s-1" if by == "sponsor" else None)


def test_check_shows_a_campaign_and_says_what_is_wrong_with_another(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(FILE, "utf-8")
    shown = CliRunner().invoke(campaigns, ["check", str(file), "--json"])
    assert shown.exit_code == 0
    assert '"campaign_id": "autumn-1"' in shown.stdout
    file.write_text(FILE.replace("rate_bp", "rate"), "utf-8")
    refused = CliRunner().invoke(campaigns, ["check", str(file)])
    assert refused.exit_code == 1
    assert "unknown fields: rate" in refused.stderr
