"""Signals into alerts."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from koban.fraud.episodes import GAP_S, Episodes, alert_id
from koban.records import Alert, Signal

T0 = 1_763_780_400_000_000
SECOND = 1_000_000


def signal(at_s: int, wallet: str = "w-1", typology: str = "T01", payments: int = 6, **more: object) -> Signal:
    """A signal so many seconds after T0."""
    return msgspec.convert(
        {
            "signal_id": f"{typology}-{wallet}-{at_s}",
            "typology": typology,
            "wallet_id": wallet,
            "at_us": T0 + at_s * SECOND,
            "window_start_us": T0 + (at_s - 60) * SECOND,
            "event_id": f"e-{at_s}",
            "payments": payments,
            "merchants": 4,
            "amount_minor": payments * 1000,
        }
        | more,
        Signal,
    )


def alerts(*signals: Signal) -> list[Alert]:
    """What is emitted, in order."""
    merging = Episodes()
    return [alert for each in signals if (alert := merging.on_event(each))]


def test_overlapping_windows_are_one_alert_that_grows() -> None:
    """Each signal moves the same alert on; figures are of the fullest window, not sums of overlapping ones."""
    first, second, third = alerts(signal(0), signal(5, payments=7), signal(9, payments=8))
    assert first.alert_id == second.alert_id == third.alert_id == alert_id(signal(0))
    assert (third.payments, third.amount_minor, third.signals) == (8, 8000, 3)
    assert (third.first_at_us, third.last_at_us, third.event_id) == (T0, T0 + 9 * SECOND, "e-9")


def test_a_long_silence_begins_a_new_alert() -> None:
    """Up to the gap it is the same episode, one second later another."""
    same = alerts(signal(0), signal(GAP_S))
    apart = alerts(signal(0), signal(GAP_S + 1))
    assert len({alert.alert_id for alert in same}) == 1
    assert len({alert.alert_id for alert in apart}) == 2


def test_wallets_and_typologies_are_apart() -> None:
    """An alert is of one wallet and one typology."""
    found = alerts(signal(0), signal(1, wallet="w-2"), signal(2, typology="T02"))
    assert len({alert.alert_id for alert in found}) == 3


def test_a_repeated_signal_says_nothing_new() -> None:
    """A job that starts again from a checkpoint signals again: no alert is written for it."""
    assert len(alerts(signal(0), signal(5), signal(5), signal(0))) == 2
    old = signal(-2 * GAP_S)
    assert len(alerts(signal(0), old)) == 1, "nor does one of an episode that is long over take the alert back"


def test_evidence_counts_distinct_events() -> None:
    """Where signals name their events, those of all windows count once each."""
    found = alerts(signal(0, event_ids=["a", "b", "c"]), signal(5, event_ids=["c", *"defgh"], payments=6))
    assert found[-1].payments == 8


def test_a_restored_episode_goes_on() -> None:
    """After a restart the same alert grows, under the same id."""
    merging = Episodes()
    (before,) = [merging.on_event(signal(0))]
    assert before is not None
    again = Episodes()
    again.restore(before)
    after = again.on_event(signal(5, payments=9))
    assert after is not None
    assert (after.alert_id, after.signals, after.payments) == (before.alert_id, 2, 9)
    assert again.snapshot() == [after]


def test_silent_episodes_are_closed() -> None:
    """State is bounded by what is going on now, not by what ever went on."""
    merging = Episodes()
    for number in range(1000):
        merging.on_event(signal(number * 60, wallet=f"w-{number}"))
    assert len(merging) <= 3 * GAP_S // 60 + 1


@given(st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(("w-1", "w-2"))), max_size=40))
def test_no_signal_is_lost_and_ids_are_stable(steps: list[tuple[int, str]]) -> None:
    """In order of time every signal lies within an alert of its wallet; a second run gives the same alerts."""
    signals = [signal(at_s, wallet) for at_s, wallet in sorted(steps)]
    found = alerts(*signals)
    assert found == alerts(*signals)
    last = {alert.alert_id: alert for alert in found}
    for each in signals:
        mine = [alert for alert in last.values() if alert.wallet_id == each.wallet_id]
        assert any(alert.first_at_us <= each.at_us <= alert.last_at_us for alert in mine)
