"""What the supervisor starts and the keeper watches: one process of the platform and how to know that it is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

WAITED_FOR, ASKED, WORKS = 0, 5, 19
"""Niceness: somebody looks at a page of it; others ask it and wait; it works through topics, where a bit later will do.

While two cores start a demo's engines, pages would else wait behind dozens of threads that are never done: at 100
requests a second p95 was 5.9 s with all alike, 4.2 s with 0, 2, 7, 200 ms with 0, 5, 15, and 72 ms with these.
"""

Probe = Callable[[], object]
"""Returns when the component answers as it should; raises OSError, ValueError or LookupError saying what is wrong."""


class NotReadyError(OSError):
    """The component answers, and says itself what it waits for."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    endpoint: str
    """Where it is reached; shown by ``koban status``."""
    after: tuple[str, ...] = ()
    """Components that must be healthy before this one starts, and that stop after it. Those not chosen don't count."""
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: Path
    """Working directory."""
    sheds_root: bool = False
    """Refuses to run as root: is started under another user id then."""
    start_s_max: int = 300
    """It may take this long from its start to its first good answer; on a busy machine, starting anew is slower yet."""
    unhealthy_s_max: int = 90
    """It is restarted after giving no good answer for this long while its process lives."""
    stop_s_max: int = 20
    """It gets this long to end by itself, then it is killed."""
    niceness: int = WORKS
    """How far it gives way on a busy machine."""
    once: bool = False
    """A step instead of a service: well when it ended with exit code 0, and never probed."""
    kind: str = "engine"
    """``engine``, ``step`` or ``app``."""
