"""One seed: events, workers, faults, and the auditor's verdict. The same seed is the same run, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from aiokafka import TopicPartition

from koban.ledger.book import Book, state_hash
from koban.ledger.facts import decode_fact
from ops.audit.state import TOPICS as STATE
from ops.audit.state import StoredLane
from ops.drill.simulation.auditor import Auditor, BrokenBooks, Expected, demand
from ops.drill.simulation.broker import Broker, Draft, Group, Stored
from ops.drill.simulation.clockwork import Clockwork, Process
from ops.drill.simulation.worker import Network, Parts, Worker, is_of_the_network
from ops.drill.simulation.workload import Sent, Workload
from schemas.partitioning import lane_of
from streams.ledger.lane import BALANCES, DEAD_LETTERS, JOURNAL, LEGS, TOPICS, WAITING

WORK_S = 20.0
"""Events come and faults happen for so long, in virtual seconds."""
REST_S_MAX = 400.0
"""By then everything must have come to rest: longer than a transaction's time-out and some rebalances together."""
GATE = "gate"
GATE_OPEN_S_MAX = 0.3

_decode = msgspec.json.Decoder().decode


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to. `broken` is None when every invariant held."""

    seed: int
    broken: str | None
    events: int
    transactions: int
    faults: dict[str, int]
    """Kind of fault → how often it happened."""
    virtual_s: float


class Mischief:
    """What happens to requests that write, drawn from the seed's random source, as long as it is `on`."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.on = False
        self.rate = random.choice((0.0, 0.01, 0.03, 0.06))
        self.faults: defaultdict[str, int] = defaultdict(int)
        self.on_killed: Callable[[Process], None] = lambda process: None

    def of_request(self, process: Process, name: str) -> tuple[bool, bool]:
        if not self.on:
            return True, True
        if name == "restore":
            self._wake(process.clock)
        if self._random.random() >= self.rate:
            return True, True
        fault = self._random.choice(("kill before", "kill after", "lost request", "lost answer", "freeze", "freeze"))
        self.faults[f"{fault} {name}" if fault != "freeze" else fault] += 1
        clock = process.clock
        clock.note(f"{process.name}: {fault} {name}")
        if fault.startswith("kill"):
            # The request is on its way, or never will be; either way its sender does not live to see the answer.
            process.kill()
            clock.later(0.0, lambda: self.on_killed(process))
            return fault == "kill after", False
        if fault == "freeze":
            process.freeze(self._random.choice((0.5, 15.0, 40.0, 90.0)))
            return True, True
        return fault == "lost answer", False

    def _wake(self, clock: Clockwork) -> None:
        """A zombie comes back at the worst moment: while its lane's new owner takes over."""
        if any(process.frozen for process in clock.processes) and self._random.random() < 0.5:
            self.faults["zombie at takeover"] += 1
            clock.note("the frozen ones wake")
            for process in clock.processes:
                process.frozen = False


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, parts: type[Parts] = Parts, *, events: int = 60) -> None:
        random = self.random = Random(seed)
        self.seed = seed
        self.clock = Clockwork(random)
        self.lanes = random.choice((1, 2, 3, 4))
        topics = dict.fromkeys((*TOPICS, JOURNAL, BALANCES, WAITING, DEAD_LETTERS), self.lanes)
        self.broker = Broker(self.clock, topics)
        self.group = Group(self.broker, self.lanes)
        self.mischief = Mischief(random)
        self.mischief.on_killed = self._restart_soon
        self.expected = Expected()
        self.auditor = Auditor(self.expected)
        self.sent = Workload(random).make(events)
        self.workers: list[Worker] = []
        self.broken: str | None = None
        """The first invariant that did not hold."""
        self._parts = parts
        self._started = 0
        self._wanted = random.choice((1, 2, 2, 3))
        self._positions: defaultdict[TopicPartition, int] = defaultdict(int)
        self._offsets: defaultdict[TopicPartition, int] = defaultdict(int)
        self._legs_taken: defaultdict[TopicPartition, int] = defaultdict(int)
        self._undecided_legs: defaultdict[TopicPartition, list[Stored]] = defaultdict(list)
        self._to_come = len(self.sent)
        self.broker.readers.append(self._look)

    # --- the run

    def run(self) -> Finding:
        self._plan()
        quiet = self.clock.run(lambda: self.broken is not None or self._at_rest(), WORK_S + REST_S_MAX)
        if not quiet:
            self._break(f"no rest after {self.clock.now_s:.0f} s: {self._unrest()}")
        self._look()
        if self.broken is None:
            self._judge()
        return Finding(
            seed=self.seed,
            broken=self.broken,
            events=len(self.sent),
            transactions=self.broker.transactions,
            faults=dict(self.mischief.faults),
            virtual_s=round(self.clock.now_s, 3),
        )

    def _plan(self) -> None:
        for event in self.sent:
            self.expected.add(event.event)
        self.clock.later(0.5, self._write_events)
        for _ in range(self._wanted):
            self.clock.later(self.random.random(), self._start_worker)
        if self.mischief.rate:
            self.mischief.on = True
            self._plan_faults()
        self.clock.at(WORK_S, self._end_of_mischief)

    def _end_of_mischief(self) -> None:
        self.mischief.on = False
        for process in self.clock.processes:
            process.frozen = False

    # --- the stages before the ledger

    def _write_events(self, start: int = 0) -> None:
        """A group of events as one transaction of the gate, open for a while; when it fails, it is written again."""
        random = self.random
        events = self.sent[start : start + random.choice((1, 2, 5, 15))]
        self._append_events(events)
        open_s = random.random() * GATE_OPEN_S_MAX

        def end() -> None:
            if random.random() < 0.1:
                self.broker.abort(GATE, self.broker.epoch(GATE))
                self.mischief.faults["input aborted"] += 1
                self._append_events(events)
                self.clock.later(open_s, end)
                return
            self.broker.commit(GATE, self.broker.epoch(GATE))
            self._to_come -= len(events)
            if self._to_come:
                pause_s = random.random() * 2 * WORK_S * 0.8 * len(events) / len(self.sent)
                self.clock.later(pause_s, lambda: self._write_events(start + len(events)))

        self.clock.later(open_s, end)

    def _append_events(self, events: list[Sent]) -> None:
        epoch = self.broker.fence(GATE)
        for sent in events:
            tp = TopicPartition(sent.topic, lane_of(sent.owner, self.lanes))
            draft = Draft(sent.event["occurred_at_us"] // 1000, sent.owner.encode(), sent.value)
            self.broker.produce(GATE, epoch, tp, [draft])

    # --- faults

    def _plan_faults(self) -> None:
        for _ in range(self.random.randint(0, 6)):
            self.clock.at(1.0 + self.random.random() * (WORK_S - 2.0), self._fault)

    def _fault(self) -> None:
        fault = self.random.choice((self._kill, self._freeze, self._stop, self._add, self._compact, self._compact))
        if fault is self._compact or self.workers:
            self.mischief.faults[fault.__name__.strip("_")] += 1
            self.clock.note(f"fault: {fault.__name__.strip('_')}")
            fault()

    def _some_worker(self) -> Worker:
        return self.random.choice(self.workers)

    def _kill(self) -> None:
        process = self._some_worker().process
        process.kill()
        self._restart_soon(process)

    def _freeze(self) -> None:
        self._some_worker().process.freeze(self.random.choice((3.0, 8.0, 15.0)))

    def _stop(self) -> None:
        self._some_worker().terminate()

    def _add(self) -> None:
        self._wanted += 1
        self._start_worker()

    def _compact(self) -> None:
        for lane in range(self.lanes):
            self.broker.logs[TopicPartition(BALANCES, lane)].compact()

    def _start_worker(self) -> None:
        if len(self.workers) < self._wanted:
            self._started += 1
            name = f"ledger-{self._started}"
            self.clock.note(f"{name} starts")
            process = Process(self.clock, name)  # type: ignore[abstract]  # no sockets, signals, threads
            network = Network(process, self.broker, self.mischief)
            self.workers.append(Worker(process, network, self.group, self.lanes, self._parts, self._ended))

    def _ended(self, worker: Worker, error: BaseException | None) -> None:
        if error is not None and not is_of_the_network(error):
            self._break(f"{worker.process.name} ended: {type(error).__name__}: {error}")
        self.clock.note(f"{worker.process.name} ended: {error!r}" if error else f"{worker.process.name} stopped")
        self.mischief.faults["crash" if error else "clean stop"] += 1
        self._restart_soon(worker.process)

    def _restart_soon(self, process: Process) -> None:
        self.workers = [worker for worker in self.workers if worker.process is not process]
        self.broker.readers = [self._look, *(worker.poke for worker in self.workers)]
        self.clock.later(self.random.random() * 2.0, self._start_worker)

    # --- the auditor's eyes

    def _break(self, what: str) -> None:
        if self.broken is None:
            self.broken = what

    def _look(self) -> None:
        """Shows the auditor what has become visible. Runs in the midst of a request, so it raises nothing."""
        if self.broken is None:
            try:
                self._show()
            except BrokenBooks as found:
                self._break(str(found))

    def _show(self) -> None:
        changed = False
        for tp, offset in self.broker.offsets.items():
            demand(offset >= self._offsets[tp], f"the offset of {tp.topic}/{tp.partition} goes back to {offset}")
            self._offsets[tp] = offset
        for lane in range(self.lanes):
            changed |= self._count_sent_legs(TopicPartition(LEGS, lane))
            changed |= self._count_taken_legs(TopicPartition(LEGS, lane))
        for lane in range(self.lanes):
            for record in self._new(JOURNAL, lane):
                self.auditor.entry(_decode(record.value))
                changed = True
            for record in self._new(BALANCES, lane):
                self.auditor.balance(_decode(record.value), lane)
                changed = True
            for record in self._new(DEAD_LETTERS, lane):
                raise BrokenBooks(f"a dead letter: {record.value!r}")
        if changed:
            self.auditor.after_transaction()

    def _new(self, topic: str, lane: int) -> list[Any]:
        tp = TopicPartition(topic, lane)
        log = self.broker.logs[tp]
        if log.stable_end <= self._positions[tp]:
            return []
        records, self._positions[tp] = log.read(self._positions[tp], 1_000_000)
        return records

    def _count_sent_legs(self, tp: TopicPartition) -> bool:
        """Of all that is committed: readers may have to wait for another lane's transaction, the books don't."""
        log, undecided = self.broker.logs[tp], self._undecided_legs[tp]
        if log.end > self._positions[tp]:
            undecided += log.read(self._positions[tp], 1_000_000, committed_only=False)[0]
            self._positions[tp] = log.end
        decided = [record for record in undecided if not record.is_open]
        undecided[:] = [record for record in undecided if record.is_open]
        for record in decided:
            self.auditor.flying_minor += 0 if record.is_aborted else _debits(record.value)
        return bool(decided)

    def _count_taken_legs(self, tp: TopicPartition) -> bool:
        start, upto = self._legs_taken[tp], self.broker.offsets.get(tp, 0)
        if upto == start:
            return False
        for record in self.broker.logs[tp].read(start, 1_000_000)[0]:
            if record.offset < upto:
                self.auditor.flying_minor -= _debits(record.value)
        self._legs_taken[tp] = upto
        return True

    # --- the end

    def _at_rest(self) -> bool:
        if self._to_come or self.mischief.on or self.clock.now_s < 1.0:
            return False
        return all(
            self.broker.offsets.get(tp, 0) == log.end
            for tp, log in self.broker.logs.items()
            if tp.topic in TOPICS and log.end
        )

    def _unrest(self) -> str:
        behind = [
            f"{tp.topic}/{tp.partition} at {self.broker.offsets.get(tp, 0)} of {log.end}"
            for tp, log in sorted(self.broker.logs.items())
            if tp.topic in TOPICS and self.broker.offsets.get(tp, 0) != log.end
        ]
        return ", ".join(behind) or f"{self._to_come} events to come"

    def _judge(self) -> None:
        try:
            self.auditor.at_rest()
            stored, undisturbed = self._stored_hash(), self._undisturbed_hash()
            demand(stored == undisturbed, f"state hash {stored}, without faults {undisturbed}")
        except AssertionError as found:
            self._break(str(found))

    def _stored_hash(self) -> str:
        """Of what a fresh worker would restore."""
        lanes = [StoredLane(lane) for lane in range(self.lanes)]
        for number, lane in enumerate(lanes):
            for topic in STATE:
                for record in self.broker.logs[TopicPartition(topic, number)].read(0, 1_000_000)[0]:
                    lane.take(topic, record.key or b"", record.value)
        return state_hash(lane.whole() for lane in lanes)

    def _undisturbed_hash(self) -> str:
        """Of all events on a single lane, in the order in which they were sent."""
        book = Book(0, lambda owner: 0)
        for sent in self.sent:
            book.post(decode_fact(sent.value))
        return book.state_hash()


def _debits(value: bytes | None) -> int:
    return sum(leg["debit_minor"] for leg in _decode(value or b"")["legs"])


def simulate(
    seed: int, parts: type[Parts] = Parts, *, events: int = 60, tell: Callable[[str], None] | None = None
) -> Finding:
    """Runs one seed. `tell` hears each step of the broker, the workers and the faults."""
    world = World(seed, parts, events=events)
    world.clock.tell = tell
    return world.run()
