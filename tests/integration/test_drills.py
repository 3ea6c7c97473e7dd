"""The drill of the ledger on a real Kafka: one seed with a kill at a failpoint, and what it says."""

from __future__ import annotations

import pytest

from ops.drill.ledger_kill import LedgerDrill, on_own_platform
from streams.transport.failpoint import Place

pytestmark = [pytest.mark.engines, pytest.mark.timeout(180)]


def test_workers_that_end_between_acknowledgement_and_commit_cost_nothing() -> None:
    """A worker dies with its outputs written and its offsets not; another one is killed in the midst of work."""
    said: list[str] = []
    with on_own_platform(said.append) as (platform, settings):
        outcome = LedgerDrill(platform, settings, said.append).run(5, 2, (Place.AFTER_PRODUCE, "kill"))
    assert outcome.ok, [invariant for invariant in outcome.invariants if not invariant.ok]
    assert {fault.kind for fault in outcome.faults} <= {"after-produce", "kill"}
    assert len(outcome.faults) == 2
    assert outcome.events > 1_000
