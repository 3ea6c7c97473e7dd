"""Two ledger workers on a real Kafka under a stream of events, and a seed that decides who is killed when.

One broker serves all seeds: each seed's wallets and merchants are its own, while the accounts of the house and the
state that is restored grow on. The auditor is the simulation's; it has seen what was sent and reads what was written.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from koban.settings import Settings
from ops import topics
from ops.drill.simulation.auditor import Auditor, BrokenBooks, Expected
from ops.drill.simulation.workload import Workload
from ops.platform import Platform, PlatformError
from schemas.partitioning import lane_of
from streams.brokers import connect
from streams.ledger.lane import BALANCES, DEAD_LETTERS, JOURNAL, TOPICS
from streams.transport import failpoint, group_of
from streams.transport.failpoint import Place

Say = Callable[[str], None]

ROOT = Path(__file__).resolve().parents[2]
GROUP = group_of("ledger")
WORKERS = 2
EVENTS_PER_S = 250
CHUNK = 50
WALLETS, MERCHANTS = 60, 20
FAULTS = 4
PAUSE_S_MAX = 1.5
"""Before each fault; the moments within it are the seed's."""
RECOVERY_S_MAX = 60.0
REST_S_MAX = 90.0
POLL_S = 0.1
RECONNECT_MS_MAX = 500
"""Of the drill's own clients. By default their pauses double up to 30 s, and a broker's recovery would count them."""
BATCH_RECORDS_MAX = 100
"""Small, so that a seed sees many transactions."""
PASSES_MAX = 12
"""A failpoint is armed for one of the first passings."""
STOP_S_MAX = 40.0
ASSERTED, FENCED = "AssertionError", "ProducerFenced"
"""In a worker's log: its books did not balance; another worker has its lane, and so it may not write any more."""

KINDS = (
    "kill", "kill", Place.AFTER_PRODUCE, Place.AFTER_OFFSETS, Place.AFTER_COMMIT, Place.IN_RESTORE, "zombie",
    "stop in rebalance", "broker",
)  # fmt: skip
"""Faults: kill -9 at any moment or at a failpoint, SIGSTOP beyond the session, SIGTERM while lanes move, the broker."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, and how long until every lane had committed again."""

    kind: str
    at_s: float
    """Since the seed's start."""
    recovery_s: float


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    ok: bool
    detail: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed came to."""

    seed: int
    events: int
    faults: list[Fault]
    invariants: list[Invariant]

    @property
    def ok(self) -> bool:
        return all(invariant.ok for invariant in self.invariants)


class Worker:
    """A ledger process. With a failpoint it ends by itself."""

    def __init__(self, settings: Settings, log: Path, armed: str | None = None) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
        environ = {**kept, **settings.environ(), "KOBAN_METRICS_PORT": "0"}
        environ["KOBAN_BATCH_RECORDS_MAX"] = str(BATCH_RECORDS_MAX)
        if armed is not None:
            environ[failpoint.VARIABLE] = armed
        self.log = log
        with log.open("a") as target:
            command = [sys.executable, "-m", "streams.ledger"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=target, stderr=target)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """As the supervisor would; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


class Crew:
    """The ledger's workers. Whoever ends by itself is replaced, as a supervisor would."""

    def __init__(self, settings: Settings, folder: Path, name: str) -> None:
        self._settings = settings
        self._folder = folder
        self._name = name
        self._number = 0
        self.logs: list[Path] = []
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self.workers: list[Worker] = []
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def start(self, armed: str | None = None) -> Worker:
        with self._lock:
            self._number += 1
            self.logs.append(self._folder / f"ledger-{self._name}-{self._number}.log")
            worker = Worker(self._settings, self.logs[-1], armed)
            self.workers.append(worker)
            return worker

    def take(self, choose: Callable[[list[Worker]], Worker]) -> Worker:
        """One of those that run, the oldest first; from now on nobody replaces it. The others' number is made up."""
        with self._lock:
            self._replace()
            worker = choose(self.workers)
            self.workers.remove(worker)
            return worker

    def assertions(self) -> Invariant:
        """Whether a worker ended because its books did not balance: the next one would hide it."""
        found = [log.name for log in self.logs if ASSERTED in log.read_text("utf-8", "replace")]
        return Invariant(name="no worker found its own books wrong", ok=not found, detail=", ".join(found))

    def end(self) -> None:
        self._ended.set()
        self._keeper.join()
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        self.workers.clear()

    def _keep(self) -> None:
        while not self._ended.wait(POLL_S):
            with self._lock:
                self._replace()

    def _replace(self) -> None:
        for worker in [worker for worker in self.workers if not worker.alive]:
            self.workers.remove(worker)
            self.start()


class Feed:
    """Sends a seed's events at a steady rate, where the gate and the cashback job put them, until it is closed."""

    def __init__(self, settings: Settings, workload: Workload, expected: Expected) -> None:
        self._settings = settings
        self._workload = workload
        self._expected = expected
        self._stop = threading.Event()
        self.sent = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when the broker has all of it. Raises KafkaError when it refused something."""
        self.stop()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Sends no more, and lets go of the broker, whatever went wrong."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            producer = connect(
                KafkaProducer,
                self._settings.kafka_bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                reconnect_backoff_max_ms=RECONNECT_MS_MAX,
            )
            try:
                while not self._stop.wait(CHUNK / EVENTS_PER_S):
                    self._send(producer)
                producer.flush(timeout=60)
            finally:
                producer.close(timeout=10)
        except Exception as error:
            self.failure = error

    def _send(self, producer: Any) -> None:
        lanes = self._settings.payment_partitions
        for sent in self._workload.make(CHUNK):
            self._expected.add(sent.event)
            future = producer.send(
                sent.topic, sent.value, key=sent.owner.encode(), partition=lane_of(sent.owner, lanes)
            )
            future.add_errback(self._failed)
            self.sent += 1

    def _failed(self, error: BaseException) -> None:
        self.failure = self.failure or error


class Books:
    """What lies in the topics, read once and in order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._positions: defaultdict[TopicPartition, int] = defaultdict(int)

    def committed(self) -> dict[tuple[str, int], int]:
        """The group's offsets. Raises KafkaError while the broker is away."""
        with self._consumer(GROUP) as consumer:
            return {(tp.topic, tp.partition): consumer.committed(tp) or 0 for tp in self._places(TOPICS)}

    def ends(self) -> dict[tuple[str, int], int]:
        with self._consumer() as consumer:
            found = consumer.end_offsets(self._places(TOPICS))
            return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    def new(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """(lane, value) of the committed records since the last call, in the order of each lane."""
        places = self._places((topic,))
        with self._consumer() as consumer:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            for tp in places:
                consumer.seek(tp, self._positions[tp])
            while any(consumer.position(tp) < ends[tp] for tp in places):
                for tp, records in consumer.poll(timeout_ms=500, max_records=10_000).items():
                    yield from ((tp.partition, record.value) for record in records)
            for tp in places:
                self._positions[tp] = consumer.position(tp)

    def _places(self, names: tuple[str, ...]) -> list[TopicPartition]:
        return [TopicPartition(topic, lane) for topic in names for lane in range(self._settings.payment_partitions)]

    @contextmanager
    def _consumer(self, group: str | None = None) -> Iterator[Any]:
        consumer = connect(
            KafkaConsumer,
            self._settings.kafka_bootstrap,
            group_id=group,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            reconnect_backoff_max_ms=RECONNECT_MS_MAX,
        )
        with closing(consumer):
            yield consumer


class LedgerDrill:
    """All seeds on one platform."""

    def __init__(self, platform: Platform, settings: Settings, say: Say) -> None:
        self._platform = platform
        self._settings = settings
        self._say = say
        self._expected = Expected()
        self._auditor = Auditor(self._expected)
        self._books = Books(settings)

    def run(self, seed: int, faults: int = FAULTS, kinds: tuple[str, ...] = KINDS) -> Outcome:
        """One seed: traffic and faults, then rest, then every invariant."""
        random, began = Random(seed), time.monotonic()
        crew = Crew(self._settings, self._settings.data_dir / "logs", str(seed))
        feed = Feed(self._settings, Workload(random, WALLETS, MERCHANTS, name=f"s{seed}"), self._expected)
        try:
            for _ in range(WORKERS):
                crew.start()
            self._await_commits(self._committed())
            suffered = [
                self._suffer(kind, crew, Random(f"{seed}/{n}"), began)
                for n, kind in enumerate(Random(seed).choices(kinds, k=faults))
            ]
            feed.close()
            rested = self._await_rest()
            invariants = [rested, *self._audit(), crew.assertions()]
        finally:
            feed.stop()
            crew.end()
        return Outcome(seed=seed, events=feed.sent, faults=suffered, invariants=invariants)

    # --- faults

    def _suffer(self, kind: str, crew: Crew, random: Random, began: float) -> Fault:
        time.sleep(random.uniform(0.2, PAUSE_S_MAX))
        at_s = time.monotonic() - began
        start, frozen = self._cause(kind, crew, random)
        self._await_commits(self._committed())
        recovery_s = time.monotonic() - start
        if frozen is not None:  # its lanes have moved by now, and it wakes up believing that it has them
            frozen.signal(signal.SIGCONT)
        self._say(f"{kind} at {at_s:.1f} s: every lane commits again after {recovery_s:.1f} s")
        return Fault(kind=str(kind), at_s=round(at_s, 1), recovery_s=round(recovery_s, 1))

    def _cause(self, kind: str, crew: Crew, random: Random) -> tuple[float, Worker | None]:
        """Makes it happen. The moment from which recovery counts, and a worker that must be woken afterwards."""
        if kind in tuple(Place):
            return self._kill_at(Place(kind), crew, random), None
        worker = random.choice(crew.workers)
        start = time.monotonic()
        if kind == "kill":
            worker.kill()
        elif kind == "zombie":
            worker.signal(signal.SIGSTOP)
            return start, worker
        elif kind == "stop in rebalance":
            return self._stop_in_rebalance(crew, random), None
        else:
            self._kill_broker()
        return start, None

    def _kill_at(self, place: Place, crew: Crew, random: Random) -> float:
        """A worker is replaced by one that ends at the failpoint; that one's end counts, and a third one comes."""
        passes = 1 if place is Place.IN_RESTORE else random.randint(1, PASSES_MAX)
        crew.take(random.choice).kill()
        armed = crew.start(f"{place}:{passes}")
        try:
            code = armed.process.wait(RECOVERY_S_MAX)
        except subprocess.TimeoutExpired as error:
            raise PlatformError(f"the worker armed with {place}:{passes} never came there; see {armed.log}") from error
        if code != -signal.SIGKILL:
            raise PlatformError(f"the worker armed with {place}:{passes} ended with {code}; see {armed.log}")
        return time.monotonic()

    def _stop_in_rebalance(self, crew: Crew, random: Random) -> float:
        """Another worker joins, and in the midst of it the oldest is told to stop."""
        crew.start()
        time.sleep(random.uniform(1.0, 4.0))
        worker = crew.take(itemgetter(0))
        start = time.monotonic()
        code = worker.stop()
        # One that has just been started does not listen to signals yet, and one that slept too long ends by itself.
        if code not in (0, -signal.SIGTERM) and FENCED not in worker.log.read_text("utf-8", "replace"):
            raise PlatformError(f"a worker that was told to stop ended with {code}; see {worker.log}")
        return start

    def _kill_broker(self) -> None:
        pid = next(row.pid for row in self._platform.status() if row.name == "kafka")
        os.kill(pid, signal.SIGKILL)

    # --- waiting

    def _committed(self) -> dict[tuple[str, int], int]:
        """The group's offsets, as soon as the broker tells them."""
        deadline = time.monotonic() + RECOVERY_S_MAX
        while True:
            try:
                return self._books.committed()
            except (KafkaError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _await_commits(self, before: dict[tuple[str, int], int]) -> None:
        """Until each lane has committed something behind `before`."""
        deadline = time.monotonic() + RECOVERY_S_MAX
        waiting = set(range(self._settings.payment_partitions))
        while waiting:
            now = self._committed()
            moved = {lane for (topic, lane), offset in now.items() if offset > before.get((topic, lane), 0)}
            waiting -= moved
            if waiting and time.monotonic() > deadline:
                raise PlatformError(f"lanes {sorted(waiting)} did not commit again in {RECOVERY_S_MAX:.0f} s")
            time.sleep(POLL_S)

    def _await_rest(self) -> Invariant:
        deadline = time.monotonic() + REST_S_MAX
        while True:
            now, ends = self._committed(), self._books.ends()
            behind = {place: end for place, end in ends.items() if now[place] != end}
            if not behind or time.monotonic() > deadline:
                detail = ", ".join(f"{t}/{p} at {now[t, p]} of {end}" for (t, p), end in behind.items())
                return Invariant(name="committed offsets are the topics' ends", ok=not behind, detail=detail)
            time.sleep(POLL_S)

    # --- the verdict

    def _audit(self) -> list[Invariant]:
        return [
            _held("each event has one entry, as its rule says", self._take_entries),
            _held("versions only grow, held and available fit", self._take_balances),
            _held("no event was dead-lettered", self._take_dead_letters),
            _held("journal = balances = expectation: 0 yen, 0 versions of difference; Σ = 0", self._auditor.at_rest),
        ]

    def _take_entries(self) -> None:
        for _, value in self._books.new(JOURNAL):
            self._auditor.entry(msgspec.json.decode(value))

    def _take_balances(self) -> None:
        for lane, value in self._books.new(BALANCES):
            self._auditor.balance(msgspec.json.decode(value), lane)

    def _take_dead_letters(self) -> None:
        for _, value in self._books.new(DEAD_LETTERS):
            raise BrokenBooks(f"a dead letter: {value[:200]!r}")


def _held(name: str, check: Callable[[], None]) -> Invariant:
    try:
        check()
    except BrokenBooks as found:
        return Invariant(name=name, ok=False, detail=str(found))
    return Invariant(name=name, ok=True, detail="")


@contextmanager
def on_own_platform(say: Say) -> Iterator[tuple[Platform, Settings]]:
    """A Kafka with the contracts' topics in a temporary folder, which is kept when something went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="koban-drill-"))
    platform = Platform(folder, say)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left behind
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KOBAN_")}
    try:
        settings = platform.up(only=("kafka",), with_apps=False, environ=clean)
        topics.apply(settings)
        yield platform, settings
    except BaseException:
        say(f"logs and data are kept in {folder}")
        platform.down()
        raise
    platform.down()
    platform.erase()
