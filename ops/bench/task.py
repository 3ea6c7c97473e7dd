"""What a contender is told: by the environment, so that any program can be one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from koban.settings import Settings


class Task(msgspec.Struct, frozen=True, kw_only=True):
    bootstrap: str
    topic: str
    target: str
    """Where contenders that write do so."""
    events: int
    """How many the topic holds."""
    group: str
    """Never used before."""

    def environ(self) -> dict[str, str]:
        return {f"BENCH_{name.upper()}": str(getattr(self, name)) for name in self.__struct_fields__}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Task:
        return msgspec.convert(
            {name: environ[f"BENCH_{name.upper()}"] for name in cls.__struct_fields__}, cls, strict=False
        )

    def settings(self) -> Settings:
        folder = tempfile.mkdtemp(prefix="koban-bench-")
        return Settings.from_environ({"KOBAN_KAFKA_BOOTSTRAP": self.bootstrap, "KOBAN_DATA_DIR": str(Path(folder))})
