"""Signals into alerts: one alert an episode, not one a window.

A pattern over sliding windows signals the same incident many times. Signals of one wallet and typology belong to one
episode while no more than a gap lies between them; the episode is one alert, which grows. Its id is made of what began
it, so that a run from the same log gives the same alerts.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from koban.business_time import US_PER_S
from koban.records import Alert, Signal

GAP_S = 600
"""A signal later than this after the episode's last one begins a new episode."""
EVIDENCE_EVENTS_MAX = 1_000
"""Distinct events an episode counts one by one; a larger one goes by the largest window seen."""
OPEN_EPISODES_MAX = 200_000
"""Episodes a lane keeps open; beyond it the longest silent are closed early."""


class Episode(msgspec.Struct):
    """An alert that may still grow, and the evidence it counts."""

    alert: Alert
    event_ids: set[str] = set()


class Episodes:
    """The open episodes of one lane."""

    def __init__(self, gap_s: int = GAP_S) -> None:
        self._gap_us = gap_s * US_PER_S
        self._open: dict[tuple[str, str], Episode] = {}
        self._latest_us = 0
        self._swept_us = 0

    def __len__(self) -> int:
        return len(self._open)

    def on_event(self, signal: Signal) -> Alert | None:
        """The alert as it is after a signal; None when the signal says nothing new of it."""
        self._sweep(signal.at_us)
        place = (signal.typology, signal.wallet_id)
        episode = self._open.get(place)
        if episode is None or self._apart(episode.alert, signal):
            if episode is not None and signal.at_us < episode.alert.first_at_us:
                return None  # of an episode that is over: it was an alert in its time
            self._open[place] = episode = Episode(_first(signal), set(signal.event_ids))
            return episode.alert
        return self._grow(episode, signal)

    def restore(self, alert: Alert) -> None:
        """Take an alert back as it was last written. Its evidence is then known by number only."""
        self._sweep(alert.last_at_us)
        self._open[alert.typology, alert.wallet_id] = Episode(alert)

    def snapshot(self) -> list[Alert]:
        """The open alerts."""
        return [episode.alert for episode in self._open.values()]

    def _apart(self, alert: Alert, signal: Signal) -> bool:
        later = signal.at_us - alert.last_at_us > self._gap_us
        return later or alert.first_at_us - signal.at_us > self._gap_us

    def _grow(self, episode: Episode, signal: Signal) -> Alert | None:
        """The alert with a signal's evidence: windows overlap, so figures are of distinct events, never summed up."""
        before = episode.alert
        if len(episode.event_ids) < EVIDENCE_EVENTS_MAX:
            episode.event_ids |= set(signal.event_ids)
        grown = msgspec.structs.replace(
            before,
            first_at_us=min(before.first_at_us, signal.at_us),
            last_at_us=max(before.last_at_us, signal.at_us),
            payments=max(before.payments, signal.payments, len(episode.event_ids)),
            merchants=max(before.merchants, signal.merchants),
            amount_minor=max(before.amount_minor, signal.amount_minor),
        )
        if grown == before:
            return None
        episode.alert = msgspec.structs.replace(
            grown, event_id=signal.event_id or before.event_id, signals=before.signals + 1
        )
        return episode.alert

    def _sweep(self, at_us: int) -> None:
        """Close episodes that have been silent for two gaps, now and then; the most silent ones when there are many."""
        self._latest_us = max(self._latest_us, at_us)
        full = len(self._open) >= OPEN_EPISODES_MAX
        if not full and self._latest_us - self._swept_us < self._gap_us:
            return
        self._swept_us = self._latest_us
        oldest_us = self._latest_us - 2 * self._gap_us
        kept = {place: episode for place, episode in self._open.items() if episode.alert.last_at_us >= oldest_us}
        if len(kept) >= OPEN_EPISODES_MAX:
            latest = sorted(kept.items(), key=lambda item: item[1].alert.last_at_us)
            kept = dict(latest[OPEN_EPISODES_MAX // 2 :])
        self._open = kept


def _first(signal: Signal) -> Alert:
    return Alert(
        alert_id=alert_id(signal),
        typology=signal.typology,
        wallet_id=signal.wallet_id,
        first_at_us=signal.at_us,
        last_at_us=signal.at_us,
        payments=signal.payments,
        merchants=signal.merchants,
        amount_minor=signal.amount_minor,
        event_id=signal.event_id,
    )


def alert_id(signal: Signal) -> str:
    """The id of the alert that a signal begins: the same for the same typology, wallet and moment."""
    told = f"{signal.typology}\x00{signal.wallet_id}\x00{signal.at_us}".encode()
    return f"{signal.typology}-{blake2b(told, digest_size=10).hexdigest()}"
