"""Runs the stage: ``python -m streams.book``, set up by ``KOBAN_*`` variables."""

from __future__ import annotations

import os

from koban.settings import Settings
from streams.book.app import book_app

if __name__ == "__main__":
    book_app(Settings.from_environ(os.environ)).main()
