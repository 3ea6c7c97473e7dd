"""Campaigns as data: read from a file, checked, funded and published."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import yaml
from kafka import KafkaProducer

from jobs.definitions import DefinitionLog
from koban.business_time import US_PER_S, to_datetime
from koban.events import EVENT_TYPES, CampaignFunding, Event
from koban.records import Campaign
from koban.settings import Settings
from schemas import codec
from schemas.cloudevents import HeaderMaker
from streams.brokers import connect

STAGE = "campaigns"
_ACK_S = 30


class CampaignRefusedError(Exception):
    """The definition can't be published; says why and what to change."""


def read(path: Path) -> Campaign:
    """The definition in a YAML or JSON file. Raises CampaignRefusedError, naming the field.

    ``starts_at`` and ``ends_at`` may be written as times with their zone, in place of ``starts_at_us`` and
    ``ends_at_us``.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CampaignRefusedError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise CampaignRefusedError(f"{path}: expected a mapping of fields, got {type(document).__name__}")
    return parse(document)


def parse(document: dict[str, Any]) -> Campaign:
    """The definition in a mapping of its fields. Raises CampaignRefusedError."""
    fields = dict(document)
    for name in ("starts_at", "ends_at"):
        if name in fields:
            fields[f"{name}_us"] = _microseconds(name, fields.pop(name))
    unknown = sorted(set(fields) - set(Campaign.__struct_fields__))
    if unknown:
        raise CampaignRefusedError(f"unknown fields: {', '.join(map(str, unknown))}")
    try:
        return msgspec.convert(fields, Campaign)
    except msgspec.ValidationError as error:
        raise CampaignRefusedError(str(error)) from error


def published(settings: Settings) -> list[Campaign]:
    """The newest version of every campaign on the topic."""
    log = DefinitionLog(settings.kafka_bootstrap)
    try:
        latest: dict[str, Campaign] = {}
        for campaign in log.read_new():
            known = latest.get(campaign.campaign_id)
            if known is None or campaign.version > known.version:
                latest[campaign.campaign_id] = campaign
        return list(latest.values())
    finally:
        log.close()


def publish(settings: Settings, campaign: Campaign, approvals: Sequence[str]) -> Campaign:
    """Funds the pot, then publishes the definition; gives back what was published.

    A new campaign that would start too soon for every stage to know it is moved to the earliest start that is not.
    A new version of a known one keeps its start, funds what the budget grew by, and changes nothing in the past.
    Raises CampaignRefusedError.
    """
    if len(set(approvals)) < 2:
        raise CampaignRefusedError("two different persons must approve a campaign")
    before = {known.campaign_id: known for known in published(settings)}.get(campaign.campaign_id)
    now_us = time.time_ns() // 1000
    final = _successor(before, campaign) if before else _in_time(campaign, now_us, settings.campaign_lead_s)
    grown = final.budget_minor - (before.budget_minor if before else 0)
    producer = connect(KafkaProducer, settings.kafka_bootstrap, acks="all")
    try:
        if grown > 0:
            event = funding(final, grown, approvals, now_us)
            headers = HeaderMaker(STAGE).event(event, now_us)
            key = final.campaign_id.encode()
            producer.send("payments", codec.encode(event), key=key, headers=headers).get(_ACK_S)
        headers = HeaderMaker(STAGE).derived("campaign", f"{final.campaign_id}:{final.version}", now_us)
        value = msgspec.json.encode(final)
        producer.send("campaigns", value, key=final.campaign_id.encode(), headers=headers).get(_ACK_S)
    finally:
        producer.close()
    return final


def funding(campaign: Campaign, amount_minor: int, approvals: Sequence[str], now_us: int) -> Event:
    """The event that puts money into a campaign's pot; its id is the same for the same version."""
    by_merchant = campaign.funded_by == "merchant"
    return EVENT_TYPES["CampaignFunded"](
        event_id=f"fund-{blake2b(f'{campaign.campaign_id}:{campaign.version}'.encode(), digest_size=16).hexdigest()}",
        occurred_at_us=now_us,
        aggregate="ledger",  # the aggregate `campaign` numbers the decisions that its pot paid for
        aggregate_id=campaign.campaign_id,
        aggregate_seq=campaign.version,
        producer=STAGE,
        body=CampaignFunding(
            campaign_id=campaign.campaign_id,
            amount_minor=amount_minor,
            sponsor=campaign.funded_by,
            sponsor_id=None if by_merchant else campaign.sponsor_id,
            merchant_id=campaign.sponsor_id if by_merchant else None,
            approvals=tuple(dict.fromkeys(approvals)),
        ),
    )


def _successor(before: Campaign, campaign: Campaign) -> Campaign:
    if campaign.version <= before.version:
        raise CampaignRefusedError(
            f"version {before.version} is published; give the new one version {before.version + 1}"
        )
    if campaign.budget_minor < before.budget_minor:
        raise CampaignRefusedError(f"the budget was {before.budget_minor} and can only grow")
    return msgspec.structs.replace(campaign, starts_at_us=before.starts_at_us)


def _in_time(campaign: Campaign, now_us: int, lead_s: int) -> Campaign:
    earliest = now_us + lead_s * US_PER_S
    if campaign.ends_at_us <= earliest:
        raise CampaignRefusedError(
            f"it ends at {to_datetime(campaign.ends_at_us).isoformat()}, which is over or too soon"
        )
    return msgspec.structs.replace(campaign, starts_at_us=max(campaign.starts_at_us, earliest))


def _microseconds(name: str, value: object) -> int:
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise CampaignRefusedError(f"{name}: expected a time like 2026-12-01T00:00:00+09:00, got {value!r}") from error
    if at.tzinfo is None:
        raise CampaignRefusedError(f"{name}: {value} has no zone; write it like 2026-12-01T00:00:00+09:00")
    return int(at.timestamp() * US_PER_S)
