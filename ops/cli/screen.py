"""Where tables for people are printed."""

from __future__ import annotations

import sys

from rich.console import Console

FILE_WIDTH = 160
"""Columns of what is piped or written to a file: a terminal's 80 would cut names and figures in half."""


def screen() -> Console:
    """Standard output, as wide as the terminal, or wide enough for every table where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)
