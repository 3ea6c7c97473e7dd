"""The whole ledger path under a seed's faults, the bugs that it must find, and that a seed is always the same run."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from koban.events import EVENT_TYPES, partition_key
from ops.drill.simulation.auditor import POSTINGS
from ops.drill.simulation.workload import Workload
from ops.drill.simulation.world import World, simulate
from schemas import codec
from tests.simulation.mutations import MUTATIONS, with_rules_of

SEEDS = range(150)
SEEDS_TO_FIND = 1_000


def test_every_invariant_holds_under_every_seed() -> None:
    """Crashes, zombies, unknown commits, rebalances, compaction: the books are those of a run without faults."""
    faults: Counter[str] = Counter()
    for seed in SEEDS:
        finding = simulate(seed)
        assert finding.broken is None, f"seed {seed}: {finding.broken}"
        faults.update(finding.faults)
    happened = " ".join(faults)
    for kind in ("kill after commit", "lost answer commit", "freeze", "zombie at takeover", "compact", "input aborted"):
        assert kind in happened, f"{kind} never happened: {faults}"


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_bug_is_found(name: str) -> None:
    """Each within a thousand seeds; most within the first few."""
    with with_rules_of(name):
        assert any(simulate(seed, MUTATIONS[name]).broken for seed in range(SEEDS_TO_FIND))


@pytest.mark.parametrize("seed", [3, 17])
def test_a_seed_is_the_same_run_every_time(seed: int) -> None:
    first, second = World(seed), World(seed)
    assert first.run() == second.run()
    logs = [{tp: [r.value for r in log.records] for tp, log in world.broker.logs.items()} for world in (first, second)]
    assert logs[0] == logs[1]


def test_the_workload_sends_valid_events_keyed_by_their_owner() -> None:
    kinds: set[str] = set()
    for seed in range(30):
        sequences: dict[str, int] = {}
        for sent in Workload(Random(seed)).make(80):
            event = codec.decode(sent.value)
            assert partition_key(event) == sent.owner
            assert event.aggregate_seq == sequences.get(event.aggregate_id, 0) + 1
            sequences[event.aggregate_id] = event.aggregate_seq
            kinds.add(type(event).__name__)
    assert kinds == set(POSTINGS), "the auditor has a rule for each type that is sent, and no other"
    assert kinds <= set(EVENT_TYPES)
