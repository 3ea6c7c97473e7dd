"""Latency, open loop: events are sent when they are due, whatever became of the ones before, and say when that was."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec
from aiokafka import AIOKafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from ops.bench import machine
from ops.bench.contest import result_of
from ops.bench.report import ROOT, Latency
from ops.bench.task import Task

LANES = 4
SECONDS, SECONDS_QUICK = 20, 5
RATES, RATES_QUICK = (50, 500, 2000), (200,)
WARM_UP_S = 2.0
LATE_S_MAX = 60
PROGRAMS = {
    "stock Faust": ("latency_faust",),
    "batched transport": ("latency_batched",),
    "batched transport, exactly once": ("latency_batched", "--exactly-once"),
}


class Delays(msgspec.Struct):
    """What a latency contender prints: milliseconds of each event, in order of arrival."""

    delays_ms: list[float]


def measure(bootstrap: str, *, quick: bool) -> list[Latency]:
    """Each contender at each rate, one after another. The contender has the second core to itself."""
    rows = []
    for rate in RATES_QUICK if quick else RATES:
        for name, program in PROGRAMS.items():
            rows.append(_one(bootstrap, name, program, rate, SECONDS_QUICK if quick else SECONDS))
    return rows


def _one(bootstrap: str, name: str, program: Sequence[str], rate: int, seconds: int) -> Latency:
    topic = f"latency-{rate}-{'-'.join(program)}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, LANES, 1)])
    admin.close()
    count = int(rate * (WARM_UP_S + seconds))
    group = f"{topic}-{os.getpid()}"
    task = Task(bootstrap=bootstrap, topic=topic, target="", events=count + 1, group=group)
    senders, receivers = machine.cores("one core")
    with machine.confined(receivers):
        contender = subprocess.Popen(
            [sys.executable, "-m", f"ops.bench.contenders.{program[0]}", *program[1:]],
            cwd=ROOT,
            env={**os.environ, **task.environ()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    with machine.confined(senders):
        asyncio.run(_send(bootstrap, topic, rate, count, contender))
    printed, log = contender.communicate(timeout=LATE_S_MAX)
    try:
        delays = result_of(printed, Delays).delays_ms
    except msgspec.DecodeError as error:
        raise RuntimeError(f"{name} gave no latencies:\n{log.decode(errors='replace')[-2000:]}") from error
    delays = sorted(delays[int(rate * WARM_UP_S) :])
    row = Latency(
        contender=name,
        rate_per_s=rate,
        events=len(delays),
        p50_ms=_quantile(delays, 0.5),
        p99_ms=_quantile(delays, 0.99),
        p999_ms=_quantile(delays, 0.999),
    )
    print(  # noqa: T201  # progress, on standard error
        f"{name:32} {rate:>5}/s: p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms, p99.9 {row.p999_ms:.1f} ms",
        file=sys.stderr,
    )
    return row


async def _send(bootstrap: str, topic: str, rate: int, count: int, contender: subprocess.Popen[bytes]) -> None:
    """Sends a first event until the contender says that it got it, then ``count`` on their due times."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks=1) as producer:
        await producer.send_and_wait(topic, b"0", partition=0)
        assert contender.stdout is not None
        await asyncio.to_thread(contender.stdout.readline)
        start = time.time() + 0.1
        for number in range(count):
            due = start + number / rate
            while (left := due - time.time()) > 0:  # noqa: ASYNC110  # the wall clock is what is waited for
                await asyncio.sleep(left)
            await producer.send(topic, b"%.6f" % due, partition=number % LANES)


def _quantile(values: list[float], part: float) -> float:
    return round(values[min(len(values) - 1, int(part * len(values)))], 3)
