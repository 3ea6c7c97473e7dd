"""The demo's course: platform up, a campaign published, simulated traffic, and, when asked for, the proof."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from koban.money import yen
from koban.records import Campaign
from koban.settings import Settings
from ops.campaigns import publish
from ops.demo import people
from ops.demo.people import DemoPeople
from ops.demo.probe import Probe
from ops.engines.report import Health, read_report
from ops.platform import Platform, PlatformError
from ops.simulator import Summary, World
from ops.simulator.population import Population
from ops.simulator.topic import Progress, run_to_topic
from ops.verify.checks import Check
from ops.verify.evidence import Evidence
from ops.verify.settled import verify

Say = Callable[[str], None]

NEEDED_FOR_TRAFFIC = ("kafka", "opensearch", "gate", "ledger", "search_index")
"""Traffic starts when these are healthy; what comes up later reads from the beginning of its topics."""
START_S_MAX = 600.0
SHORT_WINDOWS = {"KOBAN_SEAL_WINDOW_S": "20", "KOBAN_SEAL_GRACE_S": "5", "KOBAN_SESSION_IDLE_S": "43200"}
"""Who watches a demo wants to see the books sealed, an hour is too long for that; and only watches."""
MERCHANT_ACCOUNTS = 2
JOIN_S_MAX = 30.0
BUDGET_YEN_PER_EVENT = 80
"""The pot of the demo's campaign: enough for roughly half of the payments that one watches."""
BUDGET_HORIZON_S = 120
CASHBACK_RATE_BP, CASHBACK_CAP_YEN = 2_000, 500
CAMPAIGN_DAYS = 7
US_PER_DAY = 86_400_000_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo is to do. ``seconds`` None runs until it is stopped."""

    data_dir: Path
    seconds: float | None
    tps: float
    seed: int
    users: int
    merchants: int
    check: bool
    extras: tuple[str, ...] = ()
    """Optional engines."""


@dataclass
class Outcome:
    """What the demo saw. ``checks`` is empty unless a check was asked for."""

    settings: Settings
    summary: Summary
    checks: list[Check] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    first_searchable_s: float | None = None
    rss_mb: float = 0.0
    problems: list[str] = field(default_factory=list)
    people: DemoPeople | None = None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "checks": [check.as_dict() for check in self.checks],
            "counts": self.counts,
            "latency_ms": self.latency_ms,
            "first_searchable_s": self.first_searchable_s,
            "rss_mb": self.rss_mb,
            "problems": self.problems,
            "people": msgspec.to_builtins(self.people),
        }


def run(
    plan: Plan,
    platform: Platform,
    stop: threading.Event,
    say: Say,
    disturb: Callable[[threading.Event], None] | None = None,
) -> Outcome:
    """Runs the demo on ``platform`` until its time is over, ``stop`` is set, or ``disturb`` is through with its faults.

    Raises PlatformError when the platform does not come up. The platform is left running; the caller stops it.
    """
    began = time.time()
    start_up = _StartUp(platform, plan.extras)
    start_up.start()
    settings = start_up.wait_for(NEEDED_FOR_TRAFFIC)
    probe = Probe(settings)
    probe.start()
    campaign = demo_campaign(plan, int(began * 1_000_000))
    publish(settings, campaign, approvals=("demo-marketing", "demo-finance"))
    say(
        f"campaign {campaign.name}: 20 % back, at most {yen(CASHBACK_CAP_YEN)} a payment, "
        f"{yen(campaign.budget_minor)} in all"
    )
    traffic = _Traffic(plan, settings, stop, say)
    traffic.start()
    try:
        start_up.wait_for(("console", "mariadb"))
        demo_people = people.make(settings, merchant_ids(plan, MERCHANT_ACCOUNTS))
        _announce(settings, demo_people, say)
        start_up.wait_for(())
        if disturb is not None:
            disturb(stop)
            stop.set()
        summary = traffic.wait()
    except BaseException:
        # Whatever went wrong, the platform is about to be stopped: no thread may go on talking to it.
        stop.set()
        traffic.join()
        probe.stop()
        raise
    rss_mb = sum(component.rss_mb for component in platform.status())
    outcome = Outcome(settings, summary, rss_mb=round(rss_mb, 1), people=demo_people)
    if plan.check:
        say("traffic is over; comparing every store with an independent recomputation")
        outcome.checks = verify(settings, wait_s=120, on_wait=say)
        outcome.counts = counts(settings)
    probe.stop()
    outcome.latency_ms = probe.latency_ms()
    outcome.problems = probe.errors
    if probe.first_searchable_at_s is not None:
        outcome.first_searchable_s = round(probe.first_searchable_at_s - began, 1)
    return outcome


def demo_campaign(plan: Plan, now_us: int) -> Campaign:
    """A campaign whose pot runs out while one watches; its id is new with every demo."""
    horizon_s = min(plan.seconds or BUDGET_HORIZON_S, BUDGET_HORIZON_S)
    return Campaign(
        campaign_id=f"demo-{now_us // 1_000_000}",
        version=1,
        name="はじめての20%還元",
        starts_at_us=now_us,
        ends_at_us=now_us + CAMPAIGN_DAYS * US_PER_DAY,
        rate_bp=CASHBACK_RATE_BP,
        cap_per_payment_minor=CASHBACK_CAP_YEN,
        budget_minor=max(1_000, int(plan.tps * horizon_s * BUDGET_YEN_PER_EVENT)),
    )


def merchant_ids(plan: Plan, number: int) -> list[str]:
    """The most popular merchants of the demo's world."""
    return [merchant.id for merchant in Population(plan.seed, 2, plan.merchants).merchants[:number]]


def counts(settings: Settings) -> dict[str, int]:
    """What went in, and what every stage made of it, counted in the stores themselves."""
    evidence = Evidence(settings)
    return {
        "produced": len(evidence.raw),
        "valid": len(evidence.valid),
        "dead_lettered": len(evidence.dead_letters),
        "duplicates": evidence.judgement.duplicates,
        "entries": len(evidence.journal),
        "documents": len(evidence.documents),
        "alerts": len(evidence.alerts),
        "volumes": len(evidence.volumes),
        "cashback": len(evidence.cashback),
        "lake": evidence.lake_event_ids.total(),
    }


class _StartUp:
    """Brings the platform up in a thread of its own, so that traffic can start before the last job runs."""

    def __init__(self, platform: Platform, extras: tuple[str, ...]) -> None:
        self._platform = platform
        self._extras = extras
        self._settings: Settings | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._up, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _up(self) -> None:
        try:
            self._settings = self._platform.up(
                extras=self._extras, environ={**SHORT_WINDOWS, **os.environ}, timeout_s=START_S_MAX
            )
        except BaseException as error:  # handed to the thread that waits
            self._error = error

    def wait_for(self, names: tuple[str, ...]) -> Settings:
        """Settings once ``names`` are healthy; with no names, once all is. Raises what kept it from coming up."""
        while self._thread.is_alive():
            report = read_report(self._platform.data_dir) if names and self._platform.running else None
            states = report.components if report else {}
            if names and all(name in states and states[name].health is Health.HEALTHY for name in names):
                return self._platform.site().settings
            self._thread.join(timeout=0.2)
        if self._error is not None:
            raise self._error
        if self._settings is None:
            raise PlatformError("the platform did not come up")
        return self._settings


class _Traffic:
    """The simulator, sending in a thread of its own."""

    def __init__(self, plan: Plan, settings: Settings, stop: threading.Event, say: Say) -> None:
        self._plan, self._settings, self._stop, self._say = plan, settings, stop, say
        self._summary: Summary | None = None
        self._error: Exception | None = None
        self._told_s = 0.0
        self._thread = threading.Thread(target=self._send, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> Summary:
        """Waits for the last record. Raises what stopped the sending."""
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)
        if self._error is not None:
            raise self._error
        assert self._summary is not None
        return self._summary

    def join(self) -> None:
        """Waits for the sending to end, however it ended."""
        self._thread.join(timeout=JOIN_S_MAX)

    def _send(self) -> None:
        plan = self._plan
        world = World(plan.seed, plan.users, plan.merchants, int(time.time() * 1_000_000))
        try:
            self._summary = run_to_topic(self._settings, world, plan.tps, plan.seconds, self._stop, self._on_progress)
        except Exception as error:  # handed to the thread that waits
            self._error = error

    def _on_progress(self, progress: Progress) -> None:
        if time.monotonic() - self._told_s > 10:
            self._told_s = time.monotonic()
            self._say(f"{progress.sent:,} events sent, {progress.lag_ms:,.0f} ms behind their time")


def _announce(settings: Settings, made: DemoPeople, say: Say) -> None:
    say(f"open  {made.link}")
    say("      payments, balances, alerts and the campaign, live; search with /. The link signs in once, as demo")
    say(f"      {settings.console_url}/sign-in  takes these, made for this demo:")
    for account in made.accounts:
        say(f"      {account.name:<16} {account.password}   {account.roles}")
    say("      the page Ledger: the trial balance, and every 20 s a seal a lane; koban ledger audit recomputes them")
    say(f"Flink {settings.flink_url}  — the jobs")
    say(f"Kafka {settings.kafka_bootstrap}  — send your own events with any client to the topic payments")
    say("try   koban status · koban dlq list · koban trace PAYMENT · kill any process and watch it come back")
