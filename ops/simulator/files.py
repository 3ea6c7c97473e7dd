"""The traffic as JSON lines in a file, its ground truth beside it in another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import msgspec

from ops.simulator.truth import Sent, Summary, Tally, lines

WriteProgress = Callable[[int], None]
"""Called with the number of records written so far."""


def write(
    out: BinaryIO,
    truth: BinaryIO | None,
    blocks: Iterable[Sequence[Sent]],
    stop: threading.Event,
    on_progress: WriteProgress | None = None,
) -> Summary:
    """Writes blocks of records until they end or ``stop`` is set; returns what was written. `finish` ends the truth."""
    tally = Tally()
    written = 0
    for block in blocks:
        if block:
            out.write(b"\n".join([message[2] for message in block]))
            out.write(b"\n")
            tally.add(block)
            if truth is not None:
                truth.writelines(line + b"\n" for line in lines(block))
            written += len(block)
            if on_progress is not None:
                on_progress(written)
        if stop.is_set():
            break
    return tally.summary()


def finish(truth: BinaryIO, summary: Summary) -> None:
    """Ends a truth file with the summary."""
    truth.write(msgspec.json.encode(summary) + b"\n")
